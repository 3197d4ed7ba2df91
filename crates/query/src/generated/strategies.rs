//! Generated names, expressions, queries and documents. Two kinds: with any names and values, for what
//! is about text; and over a small world, for what is about meaning, so that conditions do come true.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::expression::{Arithmetic, Comparison, Expression, Literal};
use crate::function::Function;
use crate::path::{Path, Segment};
use crate::select::{Aggregate, GroupValue, Item, Select};
use crate::{Collection, Query};

const COMPARISONS: [Comparison; 6] = [
    Comparison::Equal,
    Comparison::NotEqual,
    Comparison::Less,
    Comparison::LessOrEqual,
    Comparison::Greater,
    Comparison::GreaterOrEqual,
];

/// A name that `[[...]]` can hold, in the spelling the service gives it.
fn name() -> impl Strategy<Value = String> {
    let plain =
        select(vec!["tags", "properties", "deviceId", "devices", "group", "COUNT", "lab-1", "$version"]);
    let any = "[^\\]]{1,6}".prop_map(|name| match Collection::Devices.root_name(&name) {
        Some(known) => known.property.to_owned(),
        None => name,
    });
    prop_oneof![3 => plain.prop_map(str::to_owned), 1 => any]
}

fn segment() -> impl Strategy<Value = Segment> {
    prop_oneof![
        4 => name().prop_map(Segment::Name),
        1 => any::<String>().prop_map(Segment::Name),
        1 => any::<u32>().prop_map(|index| Segment::Index(index as usize)),
    ]
}

fn any_path() -> impl Strategy<Value = Path> {
    (name(), vec(segment(), 0..4)).prop_map(|(first, rest)| Path::new(first, rest))
}

fn any_literal() -> impl Strategy<Value = Literal> + Clone {
    // -0 is read as 0.
    let number =
        prop_oneof![any::<i32>().prop_map(f64::from), prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL];
    prop_oneof![
        Just(Literal::Undefined),
        Just(Literal::Null),
        any::<bool>().prop_map(Literal::Bool),
        number.prop_map(Literal::Number),
        ".{0,8}".prop_map(Literal::Text),
        any::<String>().prop_map(Literal::Text),
    ]
    .boxed()
}

pub(super) fn any_expression() -> impl Strategy<Value = Expression> {
    let leaf = prop_oneof![
        any_literal().prop_map(Expression::Literal),
        vec(any_literal(), 1..4).prop_map(Expression::Array),
        any_path().prop_map(Expression::Path),
    ];
    leaf.prop_recursive(5, 24, 3, |inner| {
        let call = (select(Function::ALL), vec(inner.clone(), 3)).prop_map(|(function, mut arguments)| {
            let (least, most) = function.arity();
            arguments.truncate(if least == 1 { 1 } else { most });
            Expression::Call(function, arguments)
        });
        let sums = chain(inner.clone(), vec![Arithmetic::Add, Arithmetic::Subtract]);
        let products =
            chain(inner.clone(), vec![Arithmetic::Multiply, Arithmetic::Divide, Arithmetic::Remainder]);
        prop_oneof![
            1 => call,
            1 => sums,
            1 => products,
            1 => inner.clone().prop_map(|operand| Expression::Negate(operand.into())),
            4 => logic(inner, any_literal()),
        ]
    })
}

fn chain(
    inner: impl Strategy<Value = Expression> + Clone,
    operators: Vec<Arithmetic>,
) -> impl Strategy<Value = Expression> {
    let rest = vec((select(operators), inner.clone()), 1..4);
    (inner, rest).prop_map(|(first, rest)| Expression::Arithmetic(first.into(), rest))
}

/// Comparisons, lists, NOT, AND, OR.
fn logic(
    inner: impl Strategy<Value = Expression> + Clone + 'static,
    literal: impl Strategy<Value = Literal> + Clone + 'static,
) -> impl Strategy<Value = Expression> {
    let list = vec(literal, 1..4);
    prop_oneof![
        (inner.clone(), select(&COMPARISONS[..]), inner.clone())
            .prop_map(|(left, comparison, right)| Expression::Compare(left.into(), comparison, right.into())),
        (inner.clone(), list.clone()).prop_map(|(operand, list)| Expression::In(operand.into(), list)),
        (inner.clone(), list).prop_map(|(operand, list)| Expression::NotIn(operand.into(), list)),
        inner.clone().prop_map(|operand| Expression::Not(operand.into())),
        vec(inner.clone(), 2..4).prop_map(Expression::And),
        vec(inner, 2..4).prop_map(Expression::Or),
    ]
}

/// Any query that the parser can make.
pub(super) fn any_query() -> impl Strategy<Value = Query> {
    let collection = select(vec![Collection::Devices, Collection::Modules]);
    let shape = (any_select(), vec(any_path(), 0..3));
    (shape, option::of(any::<u64>()), collection, option::of(any_expression())).prop_map(
        |((select, group_by), top, collection, filter)| {
            let (select, group_by) = match select {
                Select::Groups(mut items) => {
                    // A group's paths are those it is grouped by.
                    let paths = group_by.iter().enumerate();
                    items.extend(paths.map(|(index, path)| Item {
                        key: format!("path{index}"),
                        value: GroupValue::Path(path.clone()),
                    }));
                    (Select::Groups(items), group_by)
                }
                other => (other, Vec::new()),
            };
            Query { select, top, collection, filter, group_by }
        },
    )
}

fn any_select() -> impl Strategy<Value = Select> {
    let own_name = any_path().prop_filter_map("ends in an array", |path| {
        Some(Item { key: path.last_name()?.to_owned(), value: Expression::Path(path) })
    });
    let aliased = (name(), any_expression()).prop_map(|(key, value)| Item { key, value });
    let aggregate = prop_oneof![
        Just(GroupValue::Count),
        (select(&Aggregate::ALL[..]), any_path())
            .prop_map(|(aggregate, path)| GroupValue::Aggregate(aggregate, path)),
    ];
    let group = (name(), aggregate).prop_map(|(key, value)| Item { key, value });
    prop_oneof![
        Just(Select::All),
        vec(prop_oneof![own_name, aliased], 1..4).prop_map(|items| Select::Values(distinct(items))),
        vec(group, 1..4).prop_map(|items| Select::Groups(distinct(items))),
    ]
}

/// The first of the items with each key.
fn distinct<T>(items: Vec<Item<T>>) -> Vec<Item<T>> {
    let mut keys = std::collections::HashSet::new();
    items.into_iter().filter(|item| keys.insert(item.key.clone())).collect()
}

/// Words and signs of the language in any order.
pub(super) fn token_soup() -> impl Strategy<Value = String> {
    let pieces = "SELECT|TOP|FROM|WHERE|GROUP BY|AS|AND|OR|NOT|IN|NIN|true|null|undefined|devices|devices.jobs|\
        devices.modules|deviceId|tags|tags.a|[[a b]]|[0]|['a']|[1, 'a']|'a'|\"|'|\\u00e9|1|0x1f|1.5e3|-|+|*|/|%|=|!=|\
        <>|<=|(|)|[|]|[[|]]|,|.|$version|COUNT()|AVG(tags.a)|IS_DEFINED(|STARTSWITH(|CONCAT(|SUBSTRING(|a\0b|é";
    let piece = select(pieces.split('|').collect::<Vec<_>>());
    (vec(piece, 0..16), select(vec![" ", ""])).prop_map(|(pieces, separator)| pieces.join(separator))
}

/// The paths of the small world.
fn path() -> impl Strategy<Value = Path> {
    let tag = |name: &str| Path::root("tags").join(name);
    select(vec![Path::root("deviceId"), tag("a"), tag("b"), tag("c")])
}

fn literal() -> impl Strategy<Value = Literal> + Clone {
    prop_oneof![
        1 => Just(Literal::Undefined),
        1 => Just(Literal::Null),
        2 => any::<bool>().prop_map(Literal::Bool),
        3 => (0..3_u8).prop_map(|number| Literal::Number(number.into())),
        4 => select(vec!["", "a", "ab", "b"]).prop_map(|text| Literal::Text(text.to_owned())),
    ]
    .boxed()
}

pub(super) fn literals() -> impl Strategy<Value = Vec<Literal>> {
    vec(literal(), 1..4)
}

pub(super) fn operand() -> impl Strategy<Value = Expression> + Clone {
    prop_oneof![3 => path().prop_map(Expression::Path), 2 => literal().prop_map(Expression::Literal)].boxed()
}

/// A condition over the small world.
pub(super) fn condition() -> impl Strategy<Value = Expression> {
    let prefix = (operand(), operand())
        .prop_map(|(text, prefix)| Expression::Call(Function::StartsWith, vec![text, prefix]));
    let path_compared =
        (path(), select(&COMPARISONS[..]), literal()).prop_map(|(path, comparison, literal)| {
            Expression::Compare(
                Expression::Path(path).into(),
                comparison,
                Expression::Literal(literal).into(),
            )
        });
    let leaf = prop_oneof![
        2 => operand(),
        2 => prefix,
        3 => path_compared,
        3 => logic(operand(), literal()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| logic(inner, literal()))
}

/// A document of the small world.
pub(super) fn document() -> impl Strategy<Value = Value> {
    let value = || {
        prop_oneof![
            6 => literal().prop_map(|literal| literal.to_value()),
            1 => Just(Some(json!(1.0))),
            1 => Just(Some(json!({"a": 1}))),
        ]
    };
    (value(), value(), value(), value()).prop_map(|(id, a, b, c)| {
        let mut document = json!({"tags": {}});
        for (key, value) in [("a", a), ("b", b), ("c", c)] {
            if let Some(value) = value {
                document["tags"][key] = value;
            }
        }
        if let Some(id) = id {
            document["deviceId"] = id;
        }
        document
    })
}

pub(super) fn documents() -> impl Strategy<Value = Vec<Value>> {
    vec(document(), 8)
}
