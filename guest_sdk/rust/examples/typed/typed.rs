//! What an order costs: events and answers as types, by serde.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wasmrun::{fail, handler, Context, Error, Typed};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    lines: Vec<Line>,
    #[serde(default)]
    discount: Discount,
    note: Option<String>,
}

#[derive(Deserialize)]
struct Line {
    name: String,
    cents: u64,
    #[serde(default = "one")]
    count: u32,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Discount {
    #[default]
    None,
    Percent(u8),
    Fixed {
        cents: u64,
    },
}

#[derive(Serialize)]
struct Total {
    cents: u64,
    counts: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

fn one() -> u32 {
    1
}

fn total(Typed(order): Typed<Order>, _context: &Context) -> Result<Typed<Total>, Error> {
    let mut cents = 0u64;
    let mut counts = BTreeMap::new();
    for line in order.lines {
        let Some(sum) = line.cents.checked_mul(line.count.into()).and_then(|part| cents.checked_add(part)) else {
            return fail("TooExpensive", "the total does not fit 64 bits");
        };
        cents = sum;
        *counts.entry(line.name).or_insert(0) += u64::from(line.count);
    }
    cents -= match order.discount {
        Discount::None => 0,
        Discount::Percent(percent) => (u128::from(cents) * u128::from(percent.min(100)) / 100) as u64,
        Discount::Fixed { cents: less } => less.min(cents),
    };
    Ok(Typed(Total { cents, counts, note: order.note }))
}

handler!(wasmrun_handle, total);
