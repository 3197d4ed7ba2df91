//! From tokens to a tree: the walk over the tokens, its errors and its depth. What is read lies in
//! `parser::expression` and `parser::query`.

mod expression;
mod query;

pub(crate) use expression::expression;
pub(crate) use query::{condition, query};

use crate::dialect::Dialect;
use crate::error::{ParseError, quoted};
use crate::lexer::tokenize;
use crate::limits::{MAX_CHARACTERS, MAX_DEPTH};
use crate::token::{Keyword, Kind, Token};

/// What a token that cannot be a name should have been.
const NAME: &str =
    "a name, or [[name]] for one that is a word of the language or has more than letters, digits, _ and $";

struct Parser<'t, D> {
    text: &'t str,
    tokens: Vec<Token<'t>>,
    /// Index of the next token. Never past the last one, which is the end.
    next: usize,
    depth: usize,
    /// What names mean.
    dialect: D,
}

impl<'t, D: Dialect> Parser<'t, D> {
    fn new(text: &'t str, dialect: D) -> Result<Self, ParseError> {
        if let Some((byte, _)) = text.char_indices().nth(MAX_CHARACTERS) {
            let expected = format!("at most {MAX_CHARACTERS} characters");
            return Err(ParseError::new(text, byte, expected, "more"));
        }
        Ok(Self { text, tokens: tokenize(text, D::SPELLING)?, next: 0, depth: 0, dialect })
    }
}

impl<'t, D> Parser<'t, D> {
    fn token(&self, ahead: usize) -> &Token<'t> {
        // There is at least the end.
        let index = (self.next + ahead).min(self.tokens.len() - 1);
        &self.tokens[index]
    }

    fn peek(&self) -> &Kind<'t> {
        &self.token(0).kind
    }

    fn take(&mut self) -> Token<'t> {
        let token = self.token(0).clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    /// Takes the next token if it is this one.
    fn eat(&mut self, kind: &Kind<'_>) -> bool {
        let found = self.peek() == kind;
        if found {
            self.take();
        }
        found
    }

    fn eat_symbol(&mut self, symbol: &'static str) -> bool {
        self.eat(&Kind::Symbol(symbol))
    }

    fn eat_keyword(&mut self, keyword: Keyword) -> bool {
        self.eat(&Kind::Keyword(keyword))
    }

    fn expect_symbol(&mut self, symbol: &'static str, expected: &str) -> Result<(), ParseError> {
        if self.eat_symbol(symbol) { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn expect_keyword(&mut self, keyword: Keyword, expected: &str) -> Result<(), ParseError> {
        if self.eat_keyword(keyword) { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn expect_end(&self, expected: &str) -> Result<(), ParseError> {
        if *self.peek() == Kind::End { Ok(()) } else { Err(self.expected(expected)) }
    }

    /// A name, plain or escaped.
    fn expect_name(&mut self) -> Result<&'t str, ParseError> {
        let name = self.token(0).name().ok_or_else(|| self.expected(NAME))?;
        self.take();
        Ok(name)
    }

    /// Whether the next two tokens begin a call, of a function if `named` says yes to its name.
    fn at_call(&self, named: impl FnOnce(&str) -> bool) -> bool {
        let word = self.token(0);
        word.kind == Kind::Word && self.token(1).kind == Kind::Symbol("(") && named(word.text)
    }

    /// The next token is not what was expected.
    fn expected(&self, expected: impl Into<String>) -> ParseError {
        self.refuse(self.token(0), expected)
    }

    fn refuse(&self, token: &Token<'_>, expected: impl Into<String>) -> ParseError {
        ParseError::new(self.text, token.at, expected, quoted(token.text))
    }

    /// Reads something one level further down.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.depth == MAX_DEPTH {
            let expected = format!("at most {MAX_DEPTH} nested parentheses, calls, NOTs and minus signs");
            return Err(ParseError::new(self.text, self.token(0).at, expected, "more"));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }
}
