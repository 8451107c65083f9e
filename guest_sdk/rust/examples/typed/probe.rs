//! Every kind of type that serde tells apart, there and back: for the tests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wasmrun::{fail, from_value, handler, to_value, Context, Error, Typed, Value};

/// The same value, by way of a type and back; what that changes is an error.
fn again(event: Value, _context: &Context) -> Result<Typed<Value>, Error> {
    let through: Value = from_value(to_value(&event)?)?;
    if through != event { fail("Changed", "serde changed it") } else { Ok(Typed(through)) }
}

handler!(again_handle, again);

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Unit;

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Wrapper(i16);

#[derive(Debug, Deserialize, PartialEq, Serialize)]
enum Shape {
    Point,
    Circle(f32),
    Line(i8, i8),
    Named { name: char, unit: Unit },
}

/// Every kind of type that serde tells apart.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Everything {
    numbers: (i8, i16, i32, i64, u8, u16, u32, u64, f32, f64),
    wide: (i128, u128),
    texts: BTreeMap<char, String>,
    by_number: BTreeMap<u16, bool>,
    by_shape: BTreeMap<bool, Square>,
    maybe: Option<Option<u8>>,
    shapes: Vec<Shape>,
    wrapper: Wrapper,
    bytes: Vec<u8>,
    array: [u8; 3],
    any: Value,
    unit: (),
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", content = "is")]
enum Square {
    Side(u64),
}

/// The same value, as that type.
fn everything(Typed(given): Typed<Everything>, _: &Context) -> Result<Typed<Everything>, Error> {
    let back: Everything = from_value(to_value(&given)?)?;
    if back != given { fail("Changed", "serde changed it") } else { Ok(Typed(back)) }
}

handler!(everything_handle, everything);

#[derive(Serialize)]
struct TooWide {
    list: Vec<BTreeMap<String, u128>>,
}

/// Answers that are none: what was wrong is reported with its path.
fn unanswerable(event: Value, _: &Context) -> Result<Value, Error> {
    if event.as_bool() == Some(true) {
        let wide = BTreeMap::from([("n".to_string(), u128::MAX)]);
        return to_value(&TooWide { list: vec![BTreeMap::new(), wide] });
    }
    to_value(&BTreeMap::from([(vec![1u8], 1)]))
}

handler!(unanswerable_handle, unanswerable);
