//! These tests check values, functions and the three truths, each on one small document.

use iothub_query::Query;
use serde_json::{Value, json};

fn document() -> Value {
    json!({
        "deviceId": "d",
        "tags": {
            "one": 1, "two": 2, "half": 0.5, "text": "Héllo", "digits": "12.5", "yes": true, "no": false,
            "nil": null, "list": [1, "a", null, {"x": 1}], "object": {"x": {"y": 7}}, "empty": "",
            "big": 4_503_599_627_370_496_i64, "a b": 1, "]": 2, "group": 3, "Größe": 4, "it's": 5, "": 6
        }
    })
}

/// The value of an expression: JSON, or `undefined`.
fn value(expression: &str) -> String {
    let query = Query::parse(&format!("SELECT {expression} AS v FROM devices"));
    let query = query.unwrap_or_else(|error| panic!("{expression}: {error}"));
    let row = query.evaluate(&document()).unwrap();
    row.get("v").map_or("undefined".to_owned(), Value::to_string)
}

fn check(cases: &[(&str, &str)]) {
    for (expression, expected) in cases {
        assert_eq!(value(expression), *expected, "{expression}");
    }
}

#[test]
fn paths() {
    check(&[
        ("tags.one", "1"),
        ("tags.object.x", r#"{"y":7}"#),
        ("tags.object.x.y", "7"),
        ("tags.list[1]", r#""a""#),
        ("tags.list[3].x", "1"),
        ("tags.list[9]", "undefined"),
        ("tags.list.x", "undefined"),
        ("tags.object[0]", "undefined"),
        ("tags.one.two", "undefined"),
        ("tags.absent", "undefined"),
        ("absent.one", "undefined"),
        ("tags.nil", "null"),
        ("tags.big", "4503599627370496"),
        ("tags.[[a b]]", "1"),
        ("tags[']']", "2"),
        ("tags.[[group]]", "3"),
        ("tags.Größe", "4"),
        (r"tags['it\'s']", "5"),
        ("tags['']", "6"),
        ("TAGS.one", "1"),
        ("[[tags]].one", "1"),
        ("devices.tags.one", "1"),
        ("DEVICES.TAGS.one", "1"),
        ("[[devices]].tags.one", "undefined"),
    ]);
}

#[test]
fn constants() {
    check(&[
        ("'a'", r#""a""#),
        ("\"a\"", r#""a""#),
        (r#"'\'\"\\\u00e9\ud83d\ude00'"#, r#""'\"\\é😀""#),
        ("'\n'", r#""\n""#),
        ("12", "12"),
        ("-12", "-12"),
        ("1.0", "1"),
        ("1.50", "1.5"),
        ("1e3", "1000"),
        ("2.5E-1", "0.25"),
        // Numbers of twins and bodies are read as floating point too, so both sides are rounded alike.
        ("9007199254740993", "9007199254740992"),
        ("123456789012345678901234567890", "1.2345678901234568e+29"),
        ("0xfF", "255"),
        ("-0x10", "-16"),
        ("-0", "0"),
        ("true", "true"),
        ("FALSE", "false"),
        ("Null", "null"),
        ("undefined", "undefined"),
        ("['a', -1, true, null, undefined]", r#"["a",-1,true,null]"#),
    ]);
}

#[test]
fn arithmetic() {
    check(&[
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("10 - 2 - 3", "5"),
        ("12 / 3 / 2", "2"),
        ("7 % 4 * 2", "6"),
        ("-7 % 4", "-3"),
        ("1 / 4", "0.25"),
        ("1 - -1", "2"),
        ("1-1", "0"),
        ("- tags.two", "-2"),
        ("- - tags.two", "2"),
        ("-(1 + 1)", "-2"),
        ("0.1 + 0.2", "0.30000000000000004"),
        ("1 / 0", "undefined"),
        ("0 % 0", "undefined"),
        ("1e308 * 10", "undefined"),
        ("tags.one + tags.absent", "undefined"),
        ("tags.absent + tags.one", "undefined"),
        ("'1' + 1", "undefined"),
        ("'a' + 'b'", "undefined"),
        ("tags.nil + 1", "undefined"),
        ("-tags.text", "undefined"),
    ]);
}

#[test]
fn comparisons() {
    check(&[
        ("1 = 1.0", "true"),
        ("1 < 2", "true"),
        ("2 <= 2", "true"),
        ("2 > 10", "false"),
        ("'2' > '10'", "true"),
        ("'B' < 'a'", "true"),
        ("'a' < 'aa'", "true"),
        ("'é' > 'z'", "true"),
        ("true > false", "true"),
        ("true = true", "true"),
        ("null = null", "true"),
        ("null != null", "false"),
        ("null <= null", "true"),
        ("tags.nil = null", "true"),
        // Different types, what is not there, and objects cannot be compared.
        ("tags.one = null", "undefined"),
        ("tags.one != null", "undefined"),
        ("tags.absent = null", "undefined"),
        ("tags.absent != 1", "undefined"),
        ("tags.absent = tags.absent", "undefined"),
        ("undefined = undefined", "undefined"),
        ("1 = '1'", "undefined"),
        ("1 < '2'", "undefined"),
        ("1 = true", "undefined"),
        ("tags.object = tags.object", "undefined"),
        ("tags.list = tags.list", "undefined"),
        ("(1 = 1) = true", "true"),
    ]);
}

#[test]
fn lists() {
    check(&[
        ("1 IN [1, 2]", "true"),
        ("3 IN [1, 2]", "false"),
        ("3 NIN [1, 2]", "true"),
        ("3 not in [1, 2]", "true"),
        ("1 NIN [1, 2]", "false"),
        ("NOT 3 IN [1, 2]", "true"),
        ("'1' IN [1, '1']", "true"),
        ("null IN [null]", "true"),
        ("1 + 1 IN [2]", "true"),
        // As `x = a OR x = b`.
        ("'2' IN [1, '1']", "undefined"),
        ("'2' NIN [1, '1']", "undefined"),
        ("tags.absent IN [1]", "undefined"),
        ("tags.absent NIN [1]", "undefined"),
        ("tags.object IN [1]", "undefined"),
    ]);
}

#[test]
fn three_truths() {
    let truths = [("true", Some(true)), ("false", Some(false)), ("undefined", None)];
    let written = |truth: Option<bool>| truth.map_or("undefined".to_owned(), |truth| truth.to_string());
    for (left, l) in truths {
        assert_eq!(value(&format!("NOT {left}")), written(l.map(|l| !l)));
        for (right, r) in truths {
            let and = if l == Some(false) || r == Some(false) { Some(false) } else { l.and(r) };
            let or = if l == Some(true) || r == Some(true) { Some(true) } else { l.and(r) };
            assert_eq!(value(&format!("{left} AND {right}")), written(and), "{left} AND {right}");
            assert_eq!(value(&format!("{left} OR {right}")), written(or), "{left} OR {right}");
        }
    }
    // What is no truth is as good as undefined.
    for operand in ["null", "'true'", "1", "tags.object", "tags.list", "tags.absent"] {
        assert_eq!(value(&format!("NOT {operand}")), "undefined");
        assert_eq!(value(&format!("{operand} OR true")), "true");
        assert_eq!(value(&format!("{operand} AND false")), "false");
        assert_eq!(value(&format!("{operand} OR false")), "undefined");
    }
    check(&[
        ("NOT false AND false", "false"),
        ("NOT (false AND false)", "true"),
        ("true OR true AND false", "true"),
        ("NOT NOT true", "true"),
        ("NOT 1 = 2", "true"),
    ]);
}

#[test]
fn functions_on_types() {
    let kinds = ["tags.absent", "null", "true", "1", "'a'", "tags.list", "tags.object", "['a']"];
    for (function, expected) in [
        ("IS_DEFINED", [false, true, true, true, true, true, true, true]),
        ("is_null", [false, true, false, false, false, false, false, false]),
        ("Is_Bool", [false, false, true, false, false, false, false, false]),
        ("IS_NUMBER", [false, false, false, true, false, false, false, false]),
        ("IS_STRING", [false, false, false, false, true, false, false, false]),
        ("IS_ARRAY", [false, false, false, false, false, true, false, true]),
        ("IS_OBJECT", [false, false, false, false, false, false, true, false]),
        ("IS_PRIMITIVE", [false, true, true, true, true, false, false, false]),
    ] {
        for (kind, expected) in kinds.into_iter().zip(expected) {
            assert_eq!(value(&format!("{function}({kind})")), expected.to_string(), "{function}({kind})");
        }
    }
}

#[test]
fn functions_on_text() {
    check(&[
        ("STARTSWITH(tags.text, 'Hé')", "true"),
        ("STARTSWITH(tags.text, 'hé')", "false"),
        ("STARTSWITH(tags.text, '')", "true"),
        ("STARTSWITH(tags.absent, 'a')", "undefined"),
        ("STARTSWITH(tags.one, '1')", "undefined"),
        ("STARTSWITH('a', 1)", "undefined"),
        ("STARTS_WITH('abc', 'ab')", "true"),
        ("ENDSWITH(tags.text, 'lo')", "true"),
        ("ENDS_WITH(tags.text, 'He')", "false"),
        ("CONTAINS(tags.text, 'éll')", "true"),
        ("CONTAINS(tags.list, 'a')", "undefined"),
        ("LOWER(tags.text)", r#""héllo""#),
        ("UPPER(tags.text)", r#""HÉLLO""#),
        ("LENGTH(tags.text)", "5"),
        ("LENGTH('😀')", "1"),
        ("LENGTH('')", "0"),
        ("LENGTH(1)", "undefined"),
        ("SUBSTRING(tags.text, 1)", r#""éllo""#),
        ("SUBSTRING(tags.text, 1, 2)", r#""él""#),
        ("SUBSTRING(tags.text, 9)", r#""""#),
        ("SUBSTRING(tags.text, 3, 99)", r#""lo""#),
        ("SUBSTRING(tags.text, 1e300)", r#""""#),
        ("SUBSTRING(tags.text, -1)", "undefined"),
        ("SUBSTRING(tags.text, 0.5)", "undefined"),
        ("SUBSTRING(tags.text, 0, '1')", "undefined"),
        ("INDEX_OF(tags.text, 'l')", "2"),
        ("INDEX_OF(tags.text, 'x')", "-1"),
        ("INDEX_OF(tags.text, 1)", "undefined"),
        ("CONCAT('a', 'b')", r#""ab""#),
        ("CONCAT('a', 'b', tags.text)", r#""abHéllo""#),
        ("CONCAT('a', 'b', 1)", "undefined"),
        ("CONCAT('a', tags.absent)", "undefined"),
        ("AS_NUMBER(tags.digits)", "12.5"),
        ("AS_NUMBER('-3e2')", "-300"),
        ("AS_NUMBER(7)", "7"),
        ("AS_NUMBER('7 ')", "undefined"),
        ("AS_NUMBER('inf')", "undefined"),
        ("AS_NUMBER('1e999')", "undefined"),
        ("AS_NUMBER('')", "undefined"),
        ("AS_NUMBER(true)", "undefined"),
    ]);
}

#[test]
fn functions_on_arrays_and_numbers() {
    check(&[
        ("ARRAY_CONTAINS(tags.list, 1)", "true"),
        ("ARRAY_CONTAINS(tags.list, 'a')", "true"),
        ("ARRAY_CONTAINS(tags.list, null)", "true"),
        ("ARRAY_CONTAINS(tags.list, '1')", "false"),
        ("ARRAY_CONTAINS(['a', 'b'], 'b')", "true"),
        ("ARRAY_CONTAINS(tags.list, tags.absent)", "undefined"),
        ("ARRAY_CONTAINS(tags.list, tags.object)", "undefined"),
        ("ARRAY_CONTAINS(tags.text, 'H')", "undefined"),
        ("ARRAY_CONTAINS(tags.absent, 'H')", "undefined"),
        ("ABS(-2)", "2"),
        ("EXP(0)", "1"),
        ("EXP(1000)", "undefined"),
        ("POWER(2, 10)", "1024"),
        ("POWER(-1, 0.5)", "undefined"),
        ("SQUARE(-3)", "9"),
        ("CEILING(tags.half)", "1"),
        ("CEILING(-0.5)", "0"),
        ("FLOOR(-0.5)", "-1"),
        ("SIGN(-0.5)", "-1"),
        ("SIGN(0)", "0"),
        ("SIGN(9)", "1"),
        ("SQRT(9)", "3"),
        ("SQRT(-9)", "undefined"),
        ("ABS('2')", "undefined"),
    ]);
}
