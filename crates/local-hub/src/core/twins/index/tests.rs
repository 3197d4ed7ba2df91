//! These tests check that an index leaves no twin out, whatever is written while it is built.

use iothub_models::Identity;
use proptest::prelude::*;
use serde_json::json;

use super::super::packed::Packer;
use super::*;

type Kept = std::collections::BTreeMap<Identity, Box<[u8]>>;

fn id(number: u8) -> Identity {
    Identity::device(format!("d{number:02}").parse().unwrap())
}

fn path() -> Path {
    Path::root("tags").join("a")
}

fn packed(value: &Value) -> Box<[u8]> {
    let mut packer = Packer::default();
    packer.value(&json!({ "tags": { "a": value } }));
    packer.finish()
}

fn write(indexes: &mut TwinIndexes, kept: &mut Kept, id: Identity, value: Option<&Value>) {
    let new = value.map(packed);
    indexes.changed(&id, kept.get(&id).map(|old| Packed::new(old)), new.as_deref().map(Packed::new));
    match new {
        Some(new) => kept.insert(id, new),
        None => kept.remove(&id),
    };
}

fn build(indexes: &mut TwinIndexes, kept: &Kept, most: usize) -> bool {
    indexes.build(most, |after| {
        kept.range::<Identity, _>((after.map_or(Unbounded, Excluded), Unbounded))
            .map(|(id, document)| (id, Packed::new(document)))
    })
}

fn hint(constraint: Constraint) -> Hint {
    Hint { path: path(), constraint }
}

#[test]
fn a_path_gets_its_index_when_it_is_asked_for_again() {
    let (mut indexes, mut kept) = (TwinIndexes::default(), Kept::new());
    write(&mut indexes, &mut kept, id(1), Some(&json!("x")));
    let hints = [hint(Constraint::Eq(json!("x")))];
    indexes.ask(&hints);
    assert!(!build(&mut indexes, &kept, 10) && indexes.candidates(&hints, None, 10).is_none());
    indexes.ask(&hints);
    assert!(indexes.candidates(&hints, None, 10).is_none());
    while build(&mut indexes, &kept, 10) {}
    assert_eq!(indexes.candidates(&hints, None, 10), Some(vec![id(1)]));
    assert_eq!(indexes.candidates(&hints, Some(&id(1)), 10), Some(vec![]));
}

#[test]
fn identity_fields_have_none_and_the_number_of_indexes_is_bounded() {
    let mut indexes = TwinIndexes::default();
    for _ in 0..3 {
        indexes.ask(&[Hint { path: Path::root("status"), constraint: Constraint::Eq(json!("enabled")) }]);
    }
    assert!(indexes.indexes.is_empty());
    for number in 0..100 {
        let path = Path::root("tags").join(format!("t{number}"));
        for _ in 0..ASKED {
            indexes.ask(&[Hint { path: path.clone(), constraint: Constraint::Eq(json!(1)) }]);
        }
    }
    assert_eq!(indexes.indexes.len(), MAX_INDEXES);
    assert!(indexes.indexes.iter().all(|index| *index.path.to_string() >= *"tags.t94"));
    for number in 0..1000 {
        let path = Path::root("tags").join(format!("u{number}"));
        indexes.ask(&[Hint { path, constraint: Constraint::Eq(json!(1)) }]);
    }
    assert_eq!((indexes.indexes.len(), indexes.counted.len()), (MAX_INDEXES, MAX_COUNTED));
}

#[test]
fn the_sparser_of_two_indexes_is_taken() {
    let mut indexes = TwinIndexes::default();
    let [dense, sparse] = ["dense", "sparse"]
        .map(|name| Hint { path: Path::root("tags").join(name), constraint: Constraint::Eq(json!(true)) });
    let hints = [dense, sparse];
    indexes.ask(&hints);
    indexes.ask(&hints);
    while indexes.build(10, |_| std::iter::empty()) {}
    for number in 0..90 {
        let mut packer = Packer::default();
        packer.value(&json!({ "tags": { "dense": true, "sparse": number % 10 == 0 } }));
        indexes.changed(&id(number), None, Some(Packed::new(&packer.finish())));
    }
    let expected: Vec<_> = (0..4).map(|number| id(number * 10)).collect();
    assert_eq!(indexes.candidates(&hints, None, 4), Some(expected));
    assert_eq!(indexes.candidates(&hints, Some(&id(70)), 4), Some(vec![id(80)]));
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2i64..3).prop_map(Value::from),
        (-2i8..3).prop_map(|number| Value::from(f64::from(number))),
        Just(json!(-0.0)),
        "[ab]{0,2}".prop_map(Value::from),
        "[ab]".prop_map(|end| Value::from(format!("{}{end}", "x".repeat(70)))),
        Just(json!([1])),
        Just(json!({"a": 1})),
    ]
}

fn constraint() -> impl Strategy<Value = Constraint> {
    let scalar = || value().prop_filter("scalar", |value| !value.is_array() && !value.is_object());
    prop_oneof![
        scalar().prop_map(Constraint::Eq),
        proptest::collection::vec(scalar(), 0..4).prop_map(Constraint::In),
        "[ab]{0,2}".prop_map(Constraint::Prefix),
        Just(Constraint::Prefix("x".repeat(69))),
    ]
}

proptest! {
    #[test]
    fn candidates_are_all_that_a_full_scan_finds(
        before in proptest::collection::vec((0u8..20, proptest::option::of(value())), 0..30),
        during in proptest::collection::vec((0u8..20, proptest::option::of(value())), 0..30),
        constraint in constraint(),
        after in proptest::option::of(0u8..20),
        most in 1usize..25,
    ) {
        let (mut indexes, mut kept) = (TwinIndexes::default(), Kept::new());
        for (number, value) in &before {
            write(&mut indexes, &mut kept, id(*number), value.as_ref());
        }
        let hints = [hint(constraint)];
        indexes.ask(&hints);
        indexes.ask(&hints);
        for (number, value) in &during {
            write(&mut indexes, &mut kept, id(*number), value.as_ref());
            build(&mut indexes, &kept, 2);
        }
        while build(&mut indexes, &kept, 3) {}
        let after = after.map(id);
        let found = indexes.candidates(&hints, after.as_ref(), most).unwrap();
        prop_assert!(found.is_sorted() && found.len() <= most);
        let admitted = kept.iter().filter(|(id, document)| {
            let value = find(&path(), Packed::new(document)).and_then(Packed::to_value);
            after.as_ref().is_none_or(|after| *id > after) && hints[0].constraint.admits(value.as_ref())
        });
        for (id, _) in admitted {
            // Nothing is left out up to the last candidate, or up to the end if there are fewer than were asked for.
            let reached = found.len() < most || found.last().is_some_and(|last| id <= last);
            prop_assert!(!reached || found.contains(id), "{} is missing in {:?}", id, found);
        }
        // A candidate that does not match is a long text with the same beginning.
        prop_assert!(found.iter().all(|id| kept.contains_key(id)));
    }
}
