//! X.509: whatever stands in a certificate, reading it returns, and a name in it is one that can be compared and written down.

use mqttd::listener::tls::certificate::{Facts, date};

pub fn hold(input: &[u8]) {
    let Some(facts) = Facts::read(input) else { return };
    for name in [&facts.common_name, &facts.alternative_name].into_iter().flatten() {
        assert!(!name.is_empty() && !name.contains('\0'));
    }
    // The years of X.509 are those of four digits.
    for time in [facts.not_before, facts.not_after] {
        assert_eq!(date(time).len(), "2026-11-25".len(), "{time}");
    }
}
