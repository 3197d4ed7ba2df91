//! From text to tokens: names, `[[escaped names]]`, strings, numbers, signs. Refuses whatever is none
//! of these, at its place.

use crate::error::{ParseError, quoted};
use crate::token::{Kind, Spelling, Token, continues_name, starts_name};

/// Longer ones first.
const SYMBOLS: [&str; 18] =
    ["<=", ">=", "<>", "!=", "=", "<", ">", "+", "-", "*", "/", "%", "(", ")", "[", "]", ",", "."];

/// All tokens of a text, the last one [`Kind::End`].
pub(crate) fn tokenize(text: &str, spelling: Spelling) -> Result<Vec<Token<'_>>, ParseError> {
    let mut lexer = Lexer { text, spelling, at: 0 };
    let mut tokens = Vec::new();
    loop {
        let token = lexer.token()?;
        let last = token.kind == Kind::End;
        tokens.push(token);
        if last {
            return Ok(tokens);
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    spelling: Spelling,
    at: usize,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn token(&mut self) -> Result<Token<'t>, ParseError> {
        self.at = self.text.len() - self.rest().trim_start().len();
        let at = self.at;
        let kind = match self.rest().chars().next() {
            None => Kind::End,
            Some(c) if starts_name(c) => self.word(),
            Some(c) if c.is_ascii_digit() => self.number()?,
            Some(quote @ ('\'' | '"')) => self.string(quote)?,
            Some('[') if self.rest().starts_with("[[") => self.escaped()?,
            Some(_) => self.symbol()?,
        };
        Ok(Token { kind, text: self.text.get(at..self.at).unwrap_or_default(), at })
    }

    /// Moves over the characters that satisfy `wanted` and returns them.
    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn word(&mut self) -> Kind<'t> {
        let rest = self.rest();
        let length = self.spelling.name_length(rest);
        self.at += length;
        let keyword = rest.get(..length).and_then(|word| self.spelling.keyword(word));
        keyword.map_or(Kind::Word, Kind::Keyword)
    }

    fn symbol(&mut self) -> Result<Kind<'t>, ParseError> {
        match SYMBOLS.iter().find(|symbol| self.rest().starts_with(**symbol)) {
            Some(symbol) => {
                self.at += symbol.len();
                Ok(Kind::Symbol(symbol))
            }
            None => {
                let found: String = self.rest().chars().take(1).collect();
                Err(self.refuse(self.at, "a name, a constant or an operator", quoted(&found)))
            }
        }
    }

    /// `[[name]]`: everything up to the first `]]` is the name, blanks included.
    fn escaped(&mut self) -> Result<Kind<'t>, ParseError> {
        let start = self.at;
        let inside = self.rest().get(2..).unwrap_or_default();
        let Some(length) = inside.find("]]") else {
            return Err(self.refuse(start, "`]]` after the escaped name", "the end of the query"));
        };
        if length == 0 {
            return Err(self.refuse(start, "a name between `[[` and `]]`", "`[[]]`"));
        }
        self.at += length + 4;
        Ok(Kind::Escaped(inside.get(..length).unwrap_or_default()))
    }

    /// `0x` and hexadecimal digits, or a decimal number with fraction and exponent as in JSON.
    fn number(&mut self) -> Result<Kind<'t>, ParseError> {
        let start = self.at;
        let hexadecimal = self.rest().starts_with("0x") || self.rest().starts_with("0X");
        let value = if hexadecimal {
            self.at += 2;
            let digits = self.take_while(|c| c.is_ascii_alphanumeric());
            // The constant is a float whatever its notation, so larger ones lose precision alike.
            #[expect(clippy::cast_precision_loss)]
            u64::from_str_radix(digits, 16).ok().map(|value| value as f64)
        } else {
            self.take_while(|c| c.is_ascii_digit());
            self.fraction();
            self.exponent();
            self.text
                .get(start..self.at)
                .and_then(|digits| digits.parse().ok())
                .filter(|value: &f64| value.is_finite())
        };
        // `3abc` is no number followed by a name, but a slip of the pen.
        let tail = self.take_while(continues_name);
        match value {
            Some(value) if tail.is_empty() => Ok(Kind::Number(value)),
            _ => {
                let written = self.text.get(start..self.at).unwrap_or_default();
                Err(self.refuse(start, "a number", quoted(written)))
            }
        }
    }

    fn fraction(&mut self) {
        let rest = self.rest();
        if rest.strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
            self.at += 1;
            self.take_while(|c| c.is_ascii_digit());
        }
    }

    fn exponent(&mut self) {
        let rest = self.rest();
        let Some(after) = rest.strip_prefix(['e', 'E']) else { return };
        let digits = after.strip_prefix(['+', '-']).unwrap_or(after);
        if digits.starts_with(|c: char| c.is_ascii_digit()) {
            self.at += rest.len() - digits.len();
            self.take_while(|c| c.is_ascii_digit());
        }
    }

    fn string(&mut self, quote: char) -> Result<Kind<'t>, ParseError> {
        let start = self.at;
        self.at += 1;
        let mut value = String::new();
        loop {
            value.push_str(self.take_while(|c| c != quote && c != '\\'));
            match self.rest().chars().next() {
                None => {
                    let expected = format!("{quote} at the end of the string that begins here");
                    return Err(self.refuse(start, expected, "the end of the query"));
                }
                Some('\\') => value.push(self.escape()?),
                Some(_) => {
                    self.at += 1;
                    return Ok(Kind::Text(value));
                }
            }
        }
    }

    /// `\'`, `\"`, `\\` or `\uXXXX`, and no other. Characters outside the basic plane are written as a
    /// surrogate pair; half a pair is no character.
    fn escape(&mut self) -> Result<char, ParseError> {
        let start = self.at;
        let rest = self.rest();
        let plain = rest.chars().nth(1).filter(|c| matches!(c, '\'' | '"' | '\\'));
        if let Some(c) = plain {
            self.at += 2;
            return Ok(c);
        }
        let units = [self.unit(), self.unit()];
        let first = units[0].map(u32::from);
        let single = first.and_then(char::from_u32);
        if let Some(c) = single {
            self.at = start + 6;
            return Ok(c);
        }
        let pair = char::decode_utf16(units.into_iter().flatten()).next().and_then(Result::ok);
        pair.ok_or_else(|| {
            let shown: String = rest.chars().take(if first.is_some() { 6 } else { 2 }).collect();
            self.refuse(start, r#"one of the escapes \', \", \\ and \uXXXX"#, quoted(&shown))
        })
    }

    /// One `\uXXXX`, if it is next.
    fn unit(&mut self) -> Option<u16> {
        let digits = self.rest().strip_prefix("\\u")?.get(..4)?;
        let unit =
            digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok());
        let unit = unit.flatten()?;
        self.at += 6;
        Some(unit)
    }

    fn refuse(&self, at: usize, expected: impl Into<String>, found: impl Into<String>) -> ParseError {
        ParseError::new(self.text, at, expected, found)
    }
}
