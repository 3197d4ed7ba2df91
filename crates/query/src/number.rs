//! Numbers: all arithmetic and comparison is that of a 64-bit float, as in the service's document
//! store; what leaves is written as an integer where it is one.

use serde_json::{Number, Value};

/// Up to here every integer is a float of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The JSON of a computed number: `8`, not `8.0`. Nothing for what JSON cannot say (infinity, NaN),
/// which is `undefined`.
pub(crate) fn number_value(value: f64) -> Option<Value> {
    if value.fract() == 0.0 && value.abs() <= EXACT {
        // In range, and without a fraction: nothing is cut off.
        #[expect(clippy::cast_possible_truncation)]
        return Some(Value::from(value as i64));
    }
    Number::from_f64(value).map(Value::Number)
}
