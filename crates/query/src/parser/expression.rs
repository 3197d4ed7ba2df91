//! Expressions, weakest binding first: OR, AND, NOT, comparisons and IN, `+ -`, `* / %`, minus, and
//! what stands alone. Nothing here knows queries.

use super::Parser;
use crate::dialect::Dialect;
use crate::error::ParseError;
use crate::expression::{Arithmetic, Comparison, Expression, Literal};
use crate::function::Function;
use crate::limits::MAX_LIST_ITEMS;
use crate::path::{Path, Segment};
use crate::token::{Keyword, Kind, Token};

const OPERAND: &str = "a property, a constant, a function or `(`";

const COMPARISONS: [(&str, Comparison); 7] = [
    ("=", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<>", Comparison::NotEqual),
    ("<", Comparison::Less),
    ("<=", Comparison::LessOrEqual),
    (">", Comparison::Greater),
    (">=", Comparison::GreaterOrEqual),
];

const SUMS: [(&str, Arithmetic); 2] = [("+", Arithmetic::Add), ("-", Arithmetic::Subtract)];

const PRODUCTS: [(&str, Arithmetic); 3] =
    [("*", Arithmetic::Multiply), ("/", Arithmetic::Divide), ("%", Arithmetic::Remainder)];

/// A text that is one expression.
pub(crate) fn expression(text: &str, dialect: impl Dialect) -> Result<Expression, ParseError> {
    let mut parser = Parser::new(text, dialect)?;
    let expression = parser.expression()?;
    parser.expect_end("an operator or the end of the condition")?;
    Ok(expression)
}

impl<D: Dialect> Parser<'_, D> {
    pub(super) fn expression(&mut self) -> Result<Expression, ParseError> {
        self.chain(Keyword::Or, Expression::Or, |parser| {
            parser.chain(Keyword::And, Expression::And, Self::negation)
        })
    }

    /// `operand`, or two and more of them with a keyword between.
    fn chain(
        &mut self,
        keyword: Keyword,
        joined: fn(Vec<Expression>) -> Expression,
        operand: fn(&mut Self) -> Result<Expression, ParseError>,
    ) -> Result<Expression, ParseError> {
        let first = operand(self)?;
        if *self.peek() != Kind::Keyword(keyword) {
            return Ok(first);
        }
        let mut operands = vec![first];
        while self.eat_keyword(keyword) {
            operands.push(operand(self)?);
        }
        Ok(joined(operands))
    }

    fn negation(&mut self) -> Result<Expression, ParseError> {
        if self.eat_keyword(Keyword::Not) {
            let operand = self.nested(Self::negation)?;
            return Ok(Expression::Not(Box::new(operand)));
        }
        self.comparison()
    }

    /// At most one comparison: `a = b = c` has no meaning.
    fn comparison(&mut self) -> Result<Expression, ParseError> {
        let left = self.sum()?;
        if let Some(comparison) = self.eat_operator(&COMPARISONS) {
            let right = self.sum()?;
            return Ok(Expression::Compare(Box::new(left), comparison, Box::new(right)));
        }
        if matches!(self.peek(), Kind::Keyword(Keyword::In | Keyword::Nin | Keyword::Not)) {
            self.allow_lists()?;
        }
        if self.eat_keyword(Keyword::In) {
            return Ok(Expression::In(Box::new(left), self.list()?));
        }
        if self.eat_keyword(Keyword::Nin) {
            return Ok(Expression::NotIn(Box::new(left), self.list()?));
        }
        if self.eat_keyword(Keyword::Not) {
            self.expect_keyword(Keyword::In, "IN after NOT")?;
            return Ok(Expression::NotIn(Box::new(left), self.list()?));
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Expression, ParseError> {
        self.arithmetic(&SUMS, |parser| parser.arithmetic(&PRODUCTS, Self::unary))
    }

    fn arithmetic(
        &mut self,
        operators: &[(&str, Arithmetic)],
        operand: fn(&mut Self) -> Result<Expression, ParseError>,
    ) -> Result<Expression, ParseError> {
        let first = operand(self)?;
        let mut rest = Vec::new();
        while let Some(operator) = self.eat_operator(operators) {
            rest.push((operator, operand(self)?));
        }
        Ok(if rest.is_empty() { first } else { Expression::Arithmetic(Box::new(first), rest) })
    }

    fn eat_operator<T: Copy>(&mut self, operators: &[(&str, T)]) -> Option<T> {
        let Kind::Symbol(found) = *self.peek() else { return None };
        let operator = operators.iter().find(|(symbol, _)| *symbol == found).map(|(_, operator)| *operator);
        if operator.is_some() {
            self.take();
        }
        operator
    }

    fn unary(&mut self) -> Result<Expression, ParseError> {
        if *self.peek() == Kind::Symbol("-") && !matches!(self.token(1).kind, Kind::Number(_)) {
            self.take();
            let operand = self.nested(Self::unary)?;
            return Ok(Expression::Negate(Box::new(operand)));
        }
        self.primary()
    }

    fn primary(&mut self) -> Result<Expression, ParseError> {
        match self.peek() {
            Kind::Symbol("(") => {
                self.take();
                let inside = self.nested(Self::expression)?;
                self.expect_symbol(")", "an operator or `)`")?;
                Ok(inside)
            }
            Kind::Symbol("[") => {
                self.allow_lists()?;
                Ok(Expression::Array(self.list()?))
            }
            Kind::Word if self.at_call(|_| true) => self.call(),
            Kind::Word | Kind::Escaped(_) => Ok(Expression::Path(self.path()?)),
            _ => Ok(Expression::Literal(self.literal(OPERAND)?)),
        }
    }

    fn call(&mut self) -> Result<Expression, ParseError> {
        let name = self.take();
        let function = match self.dialect.function(name.text) {
            Ok(function) => function,
            Err(expected) => return Err(self.refuse(&name, expected)),
        };
        self.take();
        let mut arguments = Vec::new();
        if *self.peek() != Kind::Symbol(")") {
            arguments.push(self.nested(Self::expression)?);
            while self.eat_symbol(",") {
                arguments.push(self.nested(Self::expression)?);
            }
        }
        self.expect_symbol(")", "an operator, `,` or `)`")?;
        self.check_arity(&name, function, arguments.len())?;
        Ok(Expression::Call(function, arguments))
    }

    fn check_arity(&self, name: &Token<'_>, function: Function, count: usize) -> Result<(), ParseError> {
        let (least, most) = function.arity();
        if (least..=most).contains(&count) {
            return Ok(());
        }
        let wanted = match (least, most) {
            (1, 1) => "1 argument".to_owned(),
            (least, most) if least == most => format!("{least} arguments"),
            (least, usize::MAX) => format!("{least} or more arguments"),
            (least, most) => format!("{least} to {most} arguments"),
        };
        let expected = format!("{wanted} for {}", name.text.to_ascii_uppercase());
        Err(ParseError::new(self.text, name.at, expected, count.to_string()))
    }

    fn allow_lists(&self) -> Result<(), ParseError> {
        self.dialect.lists().map_err(|expected| self.expected(expected))
    }

    /// `[constant, ...]`, at least one. The language has no list in parentheses.
    fn list(&mut self) -> Result<Vec<Literal>, ParseError> {
        self.expect_symbol("[", "a list in square brackets, such as ['a', 'b']")?;
        let mut items = vec![self.literal("a constant")?];
        while self.eat_symbol(",") {
            if items.len() == MAX_LIST_ITEMS {
                let expected = format!("at most {MAX_LIST_ITEMS} constants in a list");
                return Err(ParseError::new(self.text, self.token(0).at, expected, "more"));
            }
            items.push(self.literal("a constant")?);
        }
        self.expect_symbol("]", "`,` or `]`")?;
        Ok(items)
    }

    fn literal(&mut self, expected: &str) -> Result<Literal, ParseError> {
        let literal = match self.peek() {
            Kind::Text(text) => Literal::Text(text.clone()),
            Kind::Number(value) => Literal::Number(*value),
            Kind::Keyword(Keyword::True) => Literal::Bool(true),
            Kind::Keyword(Keyword::False) => Literal::Bool(false),
            Kind::Keyword(Keyword::Null) => Literal::Null,
            Kind::Keyword(Keyword::Undefined) => Literal::Undefined,
            Kind::Symbol("-") => match self.token(1).kind {
                Kind::Number(value) => {
                    self.take();
                    // Not -0, which is written and compared as 0.
                    Literal::Number(0.0 - value)
                }
                _ => return Err(self.expected(expected)),
            },
            // The likeliest reason is a property named like a keyword.
            Kind::Keyword(_) => {
                let expected = format!("{expected} (a property with this name is written [[name]])");
                return Err(self.expected(expected));
            }
            _ => return Err(self.expected(expected)),
        };
        self.take();
        Ok(literal)
    }

    /// `name.name[0].[[na-me]]['name']`. The last form is undocumented for IoT Hub and taken as its back
    /// end takes it.
    pub(super) fn path(&mut self) -> Result<Path, ParseError> {
        let start = self.token(0).clone();
        let first = self.expect_name()?.to_owned();
        let mut rest = Vec::new();
        loop {
            if self.eat_symbol(".") {
                rest.push(Segment::Name(self.expect_name()?.to_owned()));
            } else if self.eat_symbol("[") {
                rest.push(self.subscript()?);
                self.expect_symbol("]", "`]`")?;
            } else {
                break;
            }
        }
        let escaped = matches!(start.kind, Kind::Escaped(_));
        self.dialect.path(rest, first, escaped).map_err(|expected| self.refuse(&start, expected))
    }

    fn subscript(&mut self) -> Result<Segment, ParseError> {
        let token = self.token(0);
        let segment = match &token.kind {
            Kind::Text(name) => Some(Segment::Name(name.clone())),
            // Only digits: no fraction, no exponent, no hexadecimal.
            Kind::Number(_) => token.text.parse().ok().map(Segment::Index),
            _ => None,
        };
        let segment = segment.ok_or_else(|| self.expected("a position in an array, such as 0"))?;
        self.take();
        Ok(segment)
    }
}

impl<D> Parser<'_, D> {
    /// The name the path that was just read ends with, as written.
    pub(super) fn last_name_written(&self) -> Option<&str> {
        self.next.checked_sub(1).and_then(|index| self.tokens.get(index)).and_then(Token::name)
    }
}
