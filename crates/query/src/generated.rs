//! Properties of generated queries: what is printed reads the same again, no text panics, hints lose no
//! document, and the laws of the logic hold.

mod strategies;

use proptest::prelude::*;
use serde_json::Value;

use crate::expression::{Comparison, Expression};
use crate::limits::MAX_CHARACTERS;
use crate::{Collection, Query, RoutingCondition, Row, evaluate};
use strategies::{any_expression, any_query, condition, document, documents, literals, operand, token_soup};

fn value(expression: &Expression, document: &Value) -> Option<Value> {
    evaluate::value(expression, document)
}

fn not(expression: Expression) -> Expression {
    Expression::Not(Box::new(expression))
}

fn selecting(condition: Expression) -> Query {
    let select = crate::select::Select::All;
    Query {
        select,
        top: None,
        collection: Collection::Devices,
        filter: Some(condition),
        group_by: Vec::new(),
    }
}

/// Reads a text; if it is a query, everything that can be done with one is done.
fn exercise(text: &str) {
    if let Ok(query) = Query::parse(text) {
        let printed = query.to_string();
        if printed.chars().count() <= MAX_CHARACTERS {
            assert_eq!(Query::parse(&printed).as_ref(), Ok(&query), "{printed}");
        }
        let document = serde_json::json!({"deviceId": "a", "tags": {"a": [1, {"b": null}]}});
        let results: Vec<Value> = query.run([&document, &Value::Null]).unwrap().collect();
        assert!(results.iter().all(|row| row.is_object() || *row == Value::Null));
        assert!(
            !query.matches(&document)
                || query
                    .index_hints()
                    .iter()
                    .all(|hint| { hint.constraint.admits(document.value_at(&hint.path).as_deref()) })
        );
    }
    if let Err(error) = Query::parse_condition(text) {
        assert!(!error.to_string().contains('\n'));
    }
    match RoutingCondition::parse(text) {
        Ok(condition) => assert_eq!(condition.to_string(), text),
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn what_is_printed_reads_the_same_again(query in any_query()) {
        let printed = query.to_string();
        prop_assume!(printed.chars().count() <= MAX_CHARACTERS);
        prop_assert_eq!(Query::parse(&printed).map_err(|error| error.to_string()), Ok(query), "{}", printed);
    }

    #[test]
    fn every_expression_is_printed_as_it_binds(expression in any_expression()) {
        let query = selecting(expression);
        let printed = query.filter.as_ref().map(ToString::to_string).unwrap_or_default();
        prop_assume!(printed.chars().count() <= MAX_CHARACTERS);
        prop_assert_eq!(Query::parse_condition(&printed).map_err(|error| error.to_string()), Ok(query), "{}", printed);
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        exercise(&text);
        exercise(&format!("SELECT * FROM devices WHERE {text}"));
        exercise(&format!("SELECT * FROM devices WHERE tags['{text}'] = \"{text}\""));
    }

    #[test]
    fn no_mixture_of_its_words_panics(soup in token_soup()) {
        exercise(&soup);
        exercise(&format!("SELECT * FROM devices WHERE {soup}"));
        exercise(&format!("SELECT {soup} FROM devices"));
    }

    #[test]
    fn hints_lose_no_document(condition in condition(), documents in documents()) {
        let query = selecting(condition);
        for document in documents.iter().filter(|document| query.matches(*document)) {
            for hint in query.index_hints() {
                let admitted = hint.constraint.admits(document.value_at(&hint.path).as_deref());
                prop_assert!(admitted, "{} selects {} against {:?}", query, document, hint);
            }
        }
    }

    #[test]
    fn the_laws_of_logic_hold(a in condition(), b in condition(), document in document()) {
        let both = Expression::And(vec![a.clone(), b.clone()]);
        let either = Expression::Or(vec![not(a.clone()), not(b.clone())]);
        prop_assert_eq!(value(&not(both), &document), value(&either, &document));
        prop_assert_eq!(
            value(&Expression::Or(vec![a.clone(), b.clone()]), &document),
            value(&Expression::Or(vec![b, a.clone()]), &document)
        );
        let truth = value(&a, &document).filter(Value::is_boolean);
        prop_assert_eq!(value(&not(not(a)), &document), truth);
    }

    #[test]
    fn comparisons_and_lists_agree(
        (left, right, list) in (operand(), operand(), literals()), document in document()
    ) {
        let compare = |comparison| Expression::Compare(left.clone().into(), comparison, right.clone().into());
        let value = |expression: Expression| value(&expression, &document);
        prop_assert_eq!(value(compare(Comparison::NotEqual)), value(not(compare(Comparison::Equal))));
        prop_assert_eq!(value(compare(Comparison::GreaterOrEqual)), value(not(compare(Comparison::Less))));
        prop_assert_eq!(value(compare(Comparison::LessOrEqual)), value(not(compare(Comparison::Greater))));

        let equals = list.iter().map(|item| {
            Expression::Compare(left.clone().into(), Comparison::Equal, Expression::Literal(item.clone()).into())
        });
        let is_in = Expression::In(left.clone().into(), list.clone());
        prop_assert_eq!(value(is_in.clone()), value(Expression::Or(equals.collect())));
        prop_assert_eq!(value(Expression::NotIn(left.clone().into(), list)), value(not(is_in)));
    }
}
