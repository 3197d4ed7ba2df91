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

    /// Whether it belongs to a query around its expressions.
    fn is_of_clause(self) -> bool {
        use Keyword::{As, By, From, Group, Select, Top, Where};
        matches!(self, Select | Top | From | Where | Group | By | As)
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, keyword)| *keyword)
    }
}

/// What a dialect takes for a name.
#[derive(Clone, Copy)]
pub(crate) struct Spelling {
    /// Whether it has clauses (SELECT, WHERE), whose words are then no names.
    clauses: bool,
    /// Whether a `-` before a letter, a digit or `_` belongs to the name it follows.
    hyphens: bool,
}

impl Spelling {
    pub(crate) const QUERY: Self = Self { clauses: true, hyphens: false };

    /// An expression alone, over names that protocols made.
    pub(crate) const CONDITION: Self = Self { clauses: false, hyphens: true };

    pub(crate) fn keyword(self, word: &str) -> Option<Keyword> {
        Keyword::from_word(word).filter(|keyword| self.clauses || !keyword.is_of_clause())
    }

    /// How long the name is that a text begins with.
    pub(crate) fn name_length(self, text: &str) -> usize {
        let mut before = None;
        let is_end = |(at, c): &(usize, char)| {
            let after = text.get(at + c.len_utf8()..).and_then(|rest| rest.chars().next());
            let joins = self.hyphens
                && *c == '-'
                && before.is_some_and(continues_name)
                && after.is_some_and(|after| after != '$' && continues_name(after));
            before = Some(*c);
            !continues_name(*c) && !joins
        };
        text.char_indices().find(is_end).map_or(text.len(), |(at, _)| at)
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
