//! What names mean in the condition of a route.

use crate::dialect::Dialect;
use crate::function::Function;
use crate::path::{Path, Segment};
use crate::token::Spelling;

#[derive(Clone, Copy)]
pub(crate) struct RoutingDialect;

impl Dialect for RoutingDialect {
    const SPELLING: Spelling = Spelling::CONDITION;

    fn function(&self, name: &str) -> Result<Function, &'static str> {
        match Function::of_routes(name) {
            Some(function) => Ok(function),
            // As the service does: a query has the one spelling, a route the other.
            None if name.eq_ignore_ascii_case("STARTSWITH") => Err("STARTS_WITH, as routes spell it"),
            None if name.eq_ignore_ascii_case("ENDSWITH") => Err("ENDS_WITH, as routes spell it"),
            None => Err("a function of routing conditions"),
        }
    }

    /// Every name is allowed: what a message does not have is undefined.
    fn path(&self, names: Vec<Segment>, first: String, _escaped: bool) -> Result<Path, &'static str> {
        Ok(Path::new(first, names))
    }

    fn lists(&self) -> Result<(), &'static str> {
        Err("a comparison (routes have no lists: write a = 'x' OR a = 'y')")
    }
}
