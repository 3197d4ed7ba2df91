//! This file parses `SELECT [TOP n] list FROM collection [WHERE condition] [GROUP BY paths]`, and the condition
//! alone, as jobs and configurations carry it. It also checks the rules that concern a query as a whole: which list
//! goes with which collection and grouping.

use std::collections::HashSet;

use super::Parser;
use crate::collection::Collection;
use crate::dialect::{QueryDialect, Strictness};
use crate::error::{ParseError, quoted};
use crate::expression::Expression;
use crate::path::{Path, ROOT};
use crate::query::Query;
use crate::select::{Aggregate, GroupValue, Item, Select};
use crate::token::{Keyword, Kind};

type QueryParser<'t> = Parser<'t, QueryDialect>;

pub(crate) fn query(text: &str, strictness: Strictness) -> Result<Query, ParseError> {
    let mut parser = parser(text, strictness)?;
    parser.foresee_collection();
    parser.query()
}

/// `*`, a condition, or `FROM collection [WHERE condition]`, as *jobs* and *configurations* carry it.
pub(crate) fn condition(text: &str, strictness: Strictness) -> Result<Query, ParseError> {
    let mut parser = parser(text, strictness)?;
    let filter = if parser.eat_symbol("*") {
        None
    } else if parser.eat_keyword(Keyword::From) {
        parser.dialect.collection = parser.collection()?;
        parser.filter()?
    } else {
        Some(parser.expression()?)
    };
    parser.expect_end("an operator or the end of the condition")?;
    let collection = parser.dialect.collection;
    Ok(Query { select: Select::All, top: None, collection, filter, group_by: Vec::new() })
}

fn parser(text: &str, strictness: Strictness) -> Result<QueryParser<'_>, ParseError> {
    Parser::new(text, QueryDialect { collection: Collection::Devices, strictness })
}

/// An entry of a select list before it is known whether the query groups.
enum Value {
    Expression(Expression),
    Aggregate(GroupValue),
}

/// An item and the index of its first token, for errors found later.
type Listed = (usize, Item<Value>);

impl QueryParser<'_> {
    /// FROM comes after the names whose meaning it decides. A FROM that cannot be read is reported when
    /// its turn comes.
    fn foresee_collection(&mut self) {
        let from = self.tokens.iter().position(|token| token.kind == Kind::Keyword(Keyword::From));
        if let Some(from) = from {
            self.next = from + 1;
            self.dialect.collection = self.collection().unwrap_or(Collection::Devices);
            self.next = 0;
        }
    }

    fn query(&mut self) -> Result<Query, ParseError> {
        self.expect_keyword(Keyword::Select, "SELECT")?;
        let top = if self.eat_keyword(Keyword::Top) { Some(self.row_count()?) } else { None };
        let list_start = self.next;
        let list = self.select_list()?;
        let after_list = if list.is_some() { "`,`, AS or FROM" } else { "FROM" };
        self.expect_keyword(Keyword::From, after_list)?;
        let collection = self.collection()?;
        let filter = self.filter()?;
        let group_start = self.next;
        let group_by = self.group_by()?;
        self.expect_end(match (&filter, group_by.is_empty()) {
            (_, false) => "`,` or the end of the query",
            (Some(_), true) => "an operator, GROUP BY or the end of the query",
            (None, true) => "WHERE, GROUP BY or the end of the query",
        })?;

        let groups = !group_by.is_empty();
        if groups && collection != Collection::Devices && self.dialect.strictness == Strictness::Strict {
            return Err(self.refuse(&self.tokens[group_start], "no GROUP BY: only `devices` can be grouped"));
        }
        let select = match list {
            None if groups => {
                return Err(self.refuse(&self.tokens[list_start], "grouped properties and aggregates"));
            }
            None => Select::All,
            // Source: the limitations of job queries in *Azure IoT Hub query language*.
            Some(_) if collection == Collection::Jobs => {
                return Err(self.refuse(&self.tokens[list_start], "`*`, all that devices.jobs can select"));
            }
            Some(items) => self.select(items, &group_by)?,
        };
        Ok(Query { select, top, collection, filter, group_by })
    }

    fn row_count(&mut self) -> Result<u64, ParseError> {
        let digits = self.token(0).text;
        let number = matches!(self.peek(), Kind::Number(_)).then(|| digits.parse().ok()).flatten();
        let number = number.ok_or_else(|| self.expected("a number of rows after TOP"))?;
        self.take();
        Ok(number)
    }

    /// Nothing for `*`.
    fn select_list(&mut self) -> Result<Option<Vec<Listed>>, ParseError> {
        if self.eat_symbol("*") {
            return Ok(None);
        }
        let mut keys = HashSet::new();
        let mut items = Vec::new();
        loop {
            let start = self.next;
            let item = self.item()?;
            if !keys.insert(item.key.clone()) {
                let found = format!("a second {}", quoted(&item.key));
                let at = self.tokens[start].at;
                return Err(ParseError::new(self.text, at, "a key that no other item has (AS name)", found));
            }
            items.push((start, item));
            if !self.eat_symbol(",") {
                return Ok(Some(items));
            }
        }
    }

    fn item(&mut self) -> Result<Item<Value>, ParseError> {
        let (value, own_key) = match self.aggregate()? {
            Some(aggregate) => (Value::Aggregate(aggregate), None),
            None => {
                let value = self.expression()?;
                let key = self.own_key(&value);
                (Value::Expression(value), key)
            }
        };
        let key = if self.eat_keyword(Keyword::As) {
            self.expect_name()?.to_owned()
        } else if let Some(key) = own_key {
            key
        } else {
            // The service documents AS as mandatory; only a path has an evident name without it.
            return Err(self.expected("AS and a name for this value"));
        };
        Ok(Item { key, value })
    }

    /// The key of a value without AS: the last name of its path, at the root in the service's spelling.
    fn own_key(&self, value: &Expression) -> Option<String> {
        let Expression::Path(path) = value else { return None };
        let name = path.last_name()?;
        let written = if path.rest().is_empty() { self.last_name_written() } else { None };
        let known = written.and_then(|written| self.dialect.collection.root_name(written));
        Some(known.map_or_else(|| name.to_owned(), |known| known.spelling.to_owned()))
    }

    fn aggregate(&mut self) -> Result<Option<GroupValue>, ParseError> {
        if self.at_call(|name| name.eq_ignore_ascii_case("COUNT")) {
            self.take();
            self.take();
            self.eat_symbol("*");
            self.expect_symbol(")", "`)`: COUNT counts rows and has no argument")?;
            return Ok(Some(GroupValue::Count));
        }
        let named = Aggregate::ALL
            .into_iter()
            .find(|aggregate| self.at_call(|name| name.eq_ignore_ascii_case(aggregate.name())));
        let Some(aggregate) = named else { return Ok(None) };
        self.take();
        self.take();
        let path = self.path()?;
        self.expect_symbol(")", "`)` after the property")?;
        Ok(Some(GroupValue::Aggregate(aggregate, path)))
    }

    /// A query with an aggregate or GROUP BY makes rows of groups, any other rows of documents.
    fn select(&self, items: Vec<Listed>, group_by: &[Path]) -> Result<Select, ParseError> {
        let aggregates = items.iter().any(|(_, item)| matches!(item.value, Value::Aggregate(_)));
        let grouped = aggregates || !group_by.is_empty();
        let grouped_by: HashSet<&Path> = group_by.iter().collect();
        let mut values = Vec::new();
        let mut groups = Vec::new();
        for (start, Item { key, value }) in items {
            match value {
                Value::Aggregate(value) => groups.push(Item { key, value }),
                Value::Expression(value) if !grouped => values.push(Item { key, value }),
                Value::Expression(Expression::Path(path)) if grouped_by.contains(&path) => {
                    groups.push(Item { key, value: GroupValue::Path(path) });
                }
                Value::Expression(_) => {
                    return Err(
                        self.refuse(&self.tokens[start], "an aggregate, or a property named in GROUP BY")
                    );
                }
            }
        }
        Ok(if grouped { Select::Groups(groups) } else { Select::Values(values) })
    }

    fn collection(&mut self) -> Result<Collection, ParseError> {
        const EXPECTED: &str = "devices, devices.modules or devices.jobs";
        let is_word = |parser: &Self, word: &str| {
            let token = parser.token(0);
            token.kind == Kind::Word && token.text.eq_ignore_ascii_case(word)
        };
        if !is_word(self, ROOT) {
            return Err(self.expected(EXPECTED));
        }
        self.take();
        if !self.eat_symbol(".") {
            return Ok(Collection::Devices);
        }
        for collection in [Collection::Modules, Collection::Jobs] {
            if collection.part().is_some_and(|part| is_word(self, part)) {
                self.take();
                return Ok(collection);
            }
        }
        Err(self.expected("modules or jobs after `devices.`"))
    }

    fn filter(&mut self) -> Result<Option<Expression>, ParseError> {
        if self.eat_keyword(Keyword::Where) { Ok(Some(self.expression()?)) } else { Ok(None) }
    }

    fn group_by(&mut self) -> Result<Vec<Path>, ParseError> {
        let mut paths = Vec::new();
        if self.eat_keyword(Keyword::Group) {
            self.expect_keyword(Keyword::By, "BY after GROUP")?;
            paths.push(self.path()?);
            while self.eat_symbol(",") {
                paths.push(self.path()?);
            }
        }
        Ok(paths)
    }
}
