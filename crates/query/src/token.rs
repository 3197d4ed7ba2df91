//! The words and signs a query is made of, and what counts as a plain name.

/// A word that is part of the grammar, in any case. As a name it needs `[[escaping]]`, as on the
/// service, which refuses `tags.group`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    Select,
    Top,
    From,
    Where,
    Group,
    By,
    As,
    And,
    Or,
    Not,
    In,
    Nin,
    True,
    False,
    Null,
    Undefined,
}

impl Keyword {
    const ALL: [(&str, Self); 16] = [
        ("SELECT", Self::Select),
        ("TOP", Self::Top),
        ("FROM", Self::From),
        ("WHERE", Self::Where),
        ("GROUP", Self::Group),
        ("BY", Self::By),
        ("AS", Self::As),
        ("AND", Self::And),
        ("OR", Self::Or),
        ("NOT", Self::Not),
        ("IN", Self::In),
        ("NIN", Self::Nin),
        ("TRUE", Self::True),
        ("FALSE", Self::False),
        ("NULL", Self::Null),
        ("UNDEFINED", Self::Undefined),
    ];

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, keyword)| *keyword)
    }
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind<'t> {
    /// A plain name; the token's text.
    Word,
    Keyword(Keyword),
    /// The name inside `[[...]]`.
    Escaped(&'t str),
    /// A string constant without quotes and escapes.
    Text(String),
    Number(f64),
    Symbol(&'static str),
    End,
}

/// One token and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token<'t> {
    pub(crate) kind: Kind<'t>,
    /// As written.
    pub(crate) text: &'t str,
    /// Bytes before it.
    pub(crate) at: usize,
}

impl<'t> Token<'t> {
    /// The name it gives: a plain word, or what an escape holds.
    pub(crate) fn name(&self) -> Option<&'t str> {
        match self.kind {
            Kind::Word => Some(self.text),
            Kind::Escaped(name) => Some(name),
            _ => None,
        }
    }
}

pub(crate) fn starts_name(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == '$'
}

pub(crate) fn continues_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

/// Whether a name can be written without escaping.
pub(crate) fn is_plain_name(name: &str) -> bool {
    name.starts_with(starts_name) && name.chars().all(continues_name) && Keyword::from_word(name).is_none()
}
