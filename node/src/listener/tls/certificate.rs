//! What we want to know of an X.509 certificate and no library that we have tells: its names and its time (RFC 5280 section 4.1).
//! Pure. It reads what rustls has accepted, or our own files; what it does not understand is `None`.

use std::net::IpAddr;

/// The contents of a certificate, as far as they matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Seconds since 1970.
    pub not_before: i64,
    pub not_after: i64,
    /// Of the subject; the last one where there are several, which is the most specific.
    pub common_name: Option<String>,
    /// The first DNS name, e-mail address, URI or IP address of the Subject Alternative Names.
    pub alternative_name: Option<String>,
}

const SEQUENCE: u8 = 0x30;
const OID: u8 = 0x06;
const OCTET_STRING: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The optional version at the beginning of TBSCertificate.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// id-at-commonName, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// id-ce-subjectAltName, 2.5.29.17.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

/// GeneralName: rfc822Name, dNSName, uniformResourceIdentifier, iPAddress.
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;

impl Facts {
    pub fn read(der: &[u8]) -> Option<Facts> {
        let certificate = Reader(der).expect(SEQUENCE)?;
        let mut to_be_signed = Reader(Reader(certificate).expect(SEQUENCE)?);
        let (mut tag, _) = to_be_signed.next()?;
        if tag == VERSION {
            (tag, _) = to_be_signed.next()?; // the serial number
        }
        let _serial = tag;
        to_be_signed.expect(SEQUENCE)?; // the algorithm of the signature
        to_be_signed.expect(SEQUENCE)?; // the issuer
        let mut validity = Reader(to_be_signed.expect(SEQUENCE)?);
        let (not_before, not_after) = (time(validity.next()?)?, time(validity.next()?)?);
        let common_name = common_name(to_be_signed.expect(SEQUENCE)?);
        let extensions = std::iter::from_fn(|| to_be_signed.next()).find(|(tag, _)| *tag == EXTENSIONS);
        let alternative_name = extensions.and_then(|(_, extensions)| alternative_name(extensions));
        Some(Facts { not_before, not_after, common_name, alternative_name })
    }
}

/// Name ::= SEQUENCE OF (SET OF (SEQUENCE { type, value }))
fn common_name(name: &[u8]) -> Option<String> {
    let mut found = None;
    let mut sets = Reader(name);
    while let Some((_, set)) = sets.next() {
        let mut attributes = Reader(set);
        while let Some((_, attribute)) = attributes.next() {
            let mut attribute = Reader(attribute);
            if attribute.expect(OID)? == COMMON_NAME {
                let (_, value) = attribute.next()?;
                found = text(value);
            }
        }
    }
    found
}

/// Extension ::= SEQUENCE { id, critical DEFAULT FALSE, OCTET STRING }
fn alternative_name(extensions: &[u8]) -> Option<String> {
    let mut extensions = Reader(Reader(extensions).expect(SEQUENCE)?);
    while let Some((_, extension)) = extensions.next() {
        let mut extension = Reader(extension);
        if extension.expect(OID)? != ALTERNATIVE_NAMES {
            continue;
        }
        let value = std::iter::from_fn(|| extension.next()).find(|(tag, _)| *tag == OCTET_STRING)?.1;
        let mut names = Reader(Reader(value).expect(SEQUENCE)?);
        return std::iter::from_fn(|| names.next()).find_map(|(tag, name)| match tag {
            EMAIL | DNS | URI => text(name),
            IP => address(name).map(|address| address.to_string()),
            _ => None,
        });
    }
    None
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty() && !text.contains('\0')).map(str::to_owned)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// `YYMMDDHHMMSSZ`, where 50 is 1950, or `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5), in seconds since 1970.
fn time((tag, bytes): (u8, &[u8])) -> Option<i64> {
    let digits = std::str::from_utf8(bytes).ok()?.strip_suffix('Z').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year: i64 = digits[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (digits[..4].parse().ok()?, &digits[4..]),
        _ => return None,
    };
    let part = |at: usize| rest[at..at + 2].parse::<i64>().ok();
    let (month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    let is_one = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 60;
    is_one.then(|| days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970-01-01 of the Gregorian calendar. Years are counted from March, so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// `2026-11-25`, for a message.
pub fn date(seconds: i64) -> String {
    let day = seconds.div_euclid(86_400);
    let year = 1970 + day.div_euclid(if day < 0 { 365 } else { 366 }); // or before it
    let year = (year..).find(|year| days(year + 1, 1, 1) > day).unwrap_or(year);
    let month = (1..=12).rev().find(|month| days(year, *month, 1) <= day).unwrap_or(1);
    format!("{year:04}-{month:02}-{:02}", day - days(year, month, 1) + 1)
}

/// DER: tag, length, value, again and again (X.690 section 8.1). Only tags of one byte and definite lengths, which is all X.509 has.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }

    fn expect(&mut self, expected: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == expected).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_since_1970() {
        let rows: [(u8, &str, Option<i64>); 13] = [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "691231235959Z", Some(-1)),
            (UTC_TIME, "261125004711Z", Some(1_795_567_631)),
            (GENERALIZED_TIME, "20000229120000Z", Some(951_825_600)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (GENERALIZED_TIME, "00000101000000Z", Some(-62_167_219_200)),
            (GENERALIZED_TIME, "20001329120000Z", None),
            (GENERALIZED_TIME, "99991232000000Z", None),
            (GENERALIZED_TIME, "99991231240000Z", None),
            (GENERALIZED_TIME, "99991231235960Z", None),
            (UTC_TIME, "2611250047Z", None),
            (UTC_TIME, "261125004711+0100", None),
            (UTC_TIME, "", None),
        ];
        for (tag, text, expected) in rows {
            assert_eq!(time((tag, text.as_bytes())), expected, "{text}");
        }
        let rows = [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (951_825_600, "2000-02-29"),
            (253_402_300_799, "9999-12-31"),
            (-62_167_219_200, "0000-01-01"),
        ];
        for (seconds, expected) in rows {
            assert_eq!(date(seconds), expected);
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_facts() {
        for bytes in [&b""[..], b"\x30", b"\x30\x80", b"\x30\x02\x30\x00", b"\x30\x84\xff\xff\xff\xff", &[0x30; 64]] {
            assert_eq!(Facts::read(bytes), None, "{bytes:?}");
        }
    }
}
