//! route: the shortest way in a network of places: {"from", "to", "roads": [[place, place, length], …]} gives
//! {"length", "places"}, or the error NoWay.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use wasmrun::{fail, handler, Context, Error, Value};

type Network<'a> = HashMap<&'a str, Vec<(&'a str, u64)>>;

fn text<'a>(event: &'a Value, key: &str) -> Result<&'a str, Error> {
    let found = event.get(key).and_then(Value::as_str);
    found.ok_or_else(|| Error::new("InvalidEvent", format!("the event needs a string \"{key}\"")))
}

fn network(event: &Value) -> Result<Network<'_>, Error> {
    let mut network = Network::new();
    let roads = event.get("roads").and_then(Value::as_array);
    for road in roads.ok_or_else(|| Error::new("InvalidEvent", "the event needs an array \"roads\""))? {
        let Some([Value::Str(one), Value::Str(other), length]) = road.as_array() else {
            return fail("InvalidEvent", "a road is [place, place, length]");
        };
        // Small enough that no sum of them is too large.
        let Some(length) = length.as_u64().filter(|length| *length < 1 << 32) else {
            return fail("InvalidEvent", "a length is a whole number from 0 to 4294967295");
        };
        network.entry(one).or_default().push((other, length));
        network.entry(other).or_default().push((one, length));
    }
    Ok(network)
}

fn route(event: Value, _context: &Context) -> Result<Value, Error> {
    let (from, to, network) = (text(&event, "from")?, text(&event, "to")?, network(&event)?);
    let mut came = HashMap::new();
    let mut open = BinaryHeap::from([Reverse((0, from, from))]);
    while let Some(Reverse((length, place, before))) = open.pop() {
        if came.contains_key(place) {
            continue;
        }
        came.insert(place, before);
        if place == to {
            let mut places = vec![to];
            while places[places.len() - 1] != from {
                places.push(came[places[places.len() - 1]]);
            }
            let places: Vec<Value> = places.into_iter().rev().map(Value::from).collect();
            return Ok(Value::map([("length", Value::from(length)), ("places", places.into())]));
        }
        for (next, more) in network.get(place).into_iter().flatten() {
            open.push(Reverse((length + more, next, place)));
        }
    }
    fail("NoWay", format!("no road leads from {from} to {to}"))
}

handler!(wasmrun_handle, route);
