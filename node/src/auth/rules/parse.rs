//! From the text of rules to [`Rules`], with errors that name the line and say what is allowed.

use std::fmt;

use super::{Level, Pattern, Piece, Rule, Rules, Template, WhichUser};
use crate::packet::QoS;
use crate::topic::filter::TopicFilter;

/// What one text may have, so that nobody's rules take all memory or time.
pub const RULES_MAX: usize = 10_000;
pub const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

const FORM: &str = "allow|deny [user NAME|anonymous] [client ID] publish|subscribe|all FILTER… [qos=0|1|2] [retain=yes|no]";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From 1.
    pub line: usize,
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

impl std::error::Error for Fault {}

impl std::str::FromStr for Rules {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Rules, Fault> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Fault { line: 1, text: format!("the rules have more than {TEXT_BYTES_MAX} bytes") });
        }
        let mut rules = Vec::new();
        for (index, text) in text.lines().enumerate() {
            let line = index + 1;
            if text.trim().is_empty() || text.trim_start().starts_with('#') {
                continue;
            }
            if rules.len() == RULES_MAX {
                return Err(Fault { line, text: format!("there are more than {RULES_MAX} rules") });
            }
            rules.push(rule(line, text).map_err(|text| Fault { line, text })?);
        }
        Ok(Rules(rules))
    }
}

/// A word of a line; in quotes it is always a name or a filter.
#[derive(Debug, PartialEq, Eq)]
struct Word {
    text: String,
    quoted: bool,
}

impl Word {
    fn is(&self, text: &str) -> bool {
        !self.quoted && self.text == text
    }
}

fn words(line: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_word(quoted)?,
            None => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (Word { text: rest[..end].to_owned(), quoted: false }, &rest[end..])
            }
        };
        if !after.is_empty() && !after.starts_with(char::is_whitespace) {
            return Err(format!("a space is missing after {:?}", word.text));
        }
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

/// Up to the closing quote; `\"` and `\\` stand for themselves.
fn quoted_word(text: &str) -> Result<(Word, &str), String> {
    let mut word = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((Word { text: word, quoted: true }, &text[at + 1..])),
            '\\' => match characters.next() {
                Some((_, escaped @ ('"' | '\\'))) => word.push(escaped),
                _ => return Err("only \\\" and \\\\ may follow a backslash".to_owned()),
            },
            character => word.push(character),
        }
    }
    Err("a quote is not closed".to_owned())
}

fn rule(line: usize, text: &str) -> Result<Rule, String> {
    let mut words = words(text)?.into_iter().peekable();
    let verb = words.next().map(|word| word.text).unwrap_or_default();
    let allow = match verb.as_str() {
        "allow" => true,
        "deny" => false,
        other => return Err(format!("{other:?} begins no rule; a rule is: {FORM}")),
    };
    let (mut user, mut client) = (None, None);
    let action = loop {
        let word = words.next().ok_or_else(|| format!("what is it about? publish, subscribe or all is missing; a rule is: {FORM}"))?;
        let mut name = |what: &str| words.next().map(|word| word.text).ok_or_else(|| format!("{what} stands without a name"));
        match word.text.as_str() {
            "user" if user.is_some() => return Err("a rule is about one user".to_owned()),
            "user" => user = Some(WhichUser::Named(Pattern::new(&name("user")?))),
            "anonymous" if user.is_some() => return Err("a rule is about one user".to_owned()),
            "anonymous" => user = Some(WhichUser::None),
            "client" if client.is_some() => return Err("a rule is about one client".to_owned()),
            "client" => client = Some(Pattern::new(&name("client")?)),
            "publish" => break (true, false),
            "subscribe" => break (false, true),
            "all" => break (true, true),
            other => return Err(format!("{other:?} is neither user, anonymous, client nor publish, subscribe, all; a rule is: {FORM}")),
        }
    };
    let (mut qos, mut retain) = (None, None);
    let mut filters = Vec::new();
    for word in words {
        match word.text.split_once('=') {
            Some(("qos", level)) if !word.quoted => qos = Some(qos_of(level)?),
            Some(("retain", flag)) if !word.quoted => retain = Some(flag_of(flag)?),
            _ if qos.is_some() || retain.is_some() => return Err(format!("{:?} stands after the limits", word.text)),
            _ => filters.push(template(&word)?),
        }
    }
    if filters.is_empty() {
        return Err("no Topic Filter; # stands for all topics".to_owned());
    }
    if !allow && (qos.is_some() || retain.is_some()) {
        return Err("limits are for allow: what is denied is denied at every QoS".to_owned());
    }
    if retain.is_some() && !action.0 {
        return Err("retain is for publish".to_owned());
    }
    let (publish, subscribe) = action;
    let (qos_max, retain) = (qos.unwrap_or(QoS::ExactlyOnce), retain.unwrap_or(true));
    Ok(Rule { line, allow, user, client, publish, subscribe, filters, qos_max, retain })
}

fn qos_of(text: &str) -> Result<QoS, String> {
    text.parse().ok().and_then(QoS::from_bits).ok_or_else(|| format!("qos={text}: it is 0, 1 or 2"))
}

fn flag_of(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        other => Err(format!("retain={other}: it is yes or no")),
    }
}

fn template(word: &Word) -> Result<Template, String> {
    if word.is("allow") || word.is("deny") {
        return Err(format!("{:?}: each rule has a line of its own", word.text));
    }
    if word.text.starts_with("$share/") {
        return Err(format!("{:?}: a rule is about topics; it holds for Shared Subscriptions too", word.text));
    }
    TopicFilter::new(&word.text)
        .ok_or_else(|| format!("{:?} is no Topic Filter: + and # stand for whole levels, # only at the end", word.text))?;
    let level = |text: &str| match text {
        "+" => Ok(Level::One),
        "#" => Ok(Level::Rest),
        text if text.contains('%') => pieces(text).map(Level::Named),
        text => Ok(Level::Text(text.into())),
    };
    let levels = word.text.split('/').map(level).collect::<Result<Vec<_>, String>>()?;
    let begins_wild = matches!(levels[0], Level::One | Level::Rest);
    Ok(Template { levels, begins_wild })
}

fn pieces(level: &str) -> Result<Vec<Piece>, String> {
    let mut parts = level.split('%');
    let mut pieces = Vec::new();
    let mut text = parts.next().unwrap_or_default().to_owned();
    let mut flush = |text: &mut String, piece: Option<Piece>| {
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(text).into()));
        }
        pieces.extend(piece);
    };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        let mut rest = part.chars();
        match rest.next() {
            Some('c') => flush(&mut text, Some(Piece::ClientId)),
            Some('u') => flush(&mut text, Some(Piece::UserName)),
            // `%%` is a percent sign; it ends one part and is the whole begin of the next.
            None if parts.peek().is_some() => {
                text.push('%');
                text.push_str(parts.next().unwrap_or_default());
                continue;
            }
            _ => return Err(format!("{level:?}: after % comes c (Client Identifier), u (User Name), or another %")),
        }
        text.push_str(rest.as_str());
    }
    flush(&mut text, None);
    Ok(pieces)
}
