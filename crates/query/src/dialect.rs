//! What names mean: the seam between the grammar of expressions, which all dialects share, and the
//! language that uses it. Queries are one dialect; the conditions of message routes (`routing`), whose
//! names are message properties and `$body` paths and whose function names differ, are the other.

use crate::collection::Collection;
use crate::function::{Evidence, Function};
use crate::path::{Path, ROOT, Segment};
use crate::token::Spelling;

/// How closely a query must keep to what the service is known to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// Takes also what the service documents for message routing only, or for device twins only:
    /// `CONTAINS`, mathematics, `GROUP BY` over modules.
    #[default]
    Lenient,
    /// Refuses it, as the service is reported to do.
    Strict,
}

/// Resolves the names of an expression. An `Err` says what was expected instead.
pub(crate) trait Dialect {
    /// What is a name and what a word of the grammar.
    const SPELLING: Spelling;

    fn function(&self, name: &str) -> Result<Function, &'static str>;

    /// The path of names as written; `escaped` says that the first was in `[[...]]`.
    fn path(&self, names: Vec<Segment>, first: String, escaped: bool) -> Result<Path, &'static str>;

    /// Whether it has `[...]` lists, and IN.
    fn lists(&self) -> Result<(), &'static str>;
}

/// The dialect of queries.
#[derive(Clone, Copy)]
pub(crate) struct QueryDialect {
    pub(crate) collection: Collection,
    pub(crate) strictness: Strictness,
}

impl QueryDialect {
    /// `devices.deviceId` and `devices.jobs.jobId` are `deviceId` and `jobId`.
    fn without_collection(self, mut rest: Vec<Segment>) -> Result<(String, Vec<Segment>), &'static str> {
        let is_part = |segment: &Segment| match (segment, self.collection.part()) {
            (Segment::Name(name), Some(part)) => name.eq_ignore_ascii_case(part),
            _ => false,
        };
        if rest.first().is_some_and(is_part) {
            rest.remove(0);
        }
        match rest.first() {
            Some(Segment::Name(name)) => {
                let first = name.clone();
                rest.remove(0);
                Ok((first, rest))
            }
            _ => Err("a property after the name of the collection"),
        }
    }
}

impl Dialect for QueryDialect {
    const SPELLING: Spelling = Spelling::QUERY;

    fn function(&self, name: &str) -> Result<Function, &'static str> {
        match Function::named(name) {
            None => Err("a function of the query language"),
            Some((_, Evidence::Refused)) if self.strictness == Strictness::Strict => Err(
                "a function that the service takes in a query (IS_DEFINED, STARTSWITH, ENDSWITH, ARRAY_CONTAINS)",
            ),
            Some((function, _)) => Ok(function),
        }
    }

    fn path(&self, rest: Vec<Segment>, first: String, escaped: bool) -> Result<Path, &'static str> {
        let prefixed = !escaped && first.eq_ignore_ascii_case(ROOT);
        let (first, rest) = if prefixed { self.without_collection(rest)? } else { (first, rest) };
        let first = self.collection.root_name(&first).map_or(first, |name| name.property.to_owned());
        let of_twin = ["tags", "properties"].iter().any(|root| root.eq_ignore_ascii_case(&first));
        if self.collection == Collection::Jobs && of_twin {
            return Err("a property of the job (a query over devices.jobs cannot read twins)");
        }
        Ok(Path::new(first, rest))
    }
    fn lists(&self) -> Result<(), &'static str> {
        Ok(())
    }
}
