//! Smaller numbers, and a fixed number in place of one that is drawn.

use schema::tree::Node;

/// Fields whose numbers name something, or bound the run and not what happens in it.
const NAMES: [&str; 15] = [
    "bits",
    "mask",
    "errno",
    "id",
    "isolation",
    "nr_cpus",
    "seeds",
    "max_steps",
    "settle_ms",
    "vendor_id",
    "device_id",
    "start",
    "dma_bits",
    "bus_dma_limit",
    "strategy",
];
/// A page is as simple as a byte, and easier to believe.
const PAGE: i128 = 4096;

/// Simpler values for a number, or for what a number is drawn from, that stands in the field `field`; the simplest
/// first.
pub(super) fn simpler(field: &str, node: &Node) -> Vec<Node> {
    match node {
        _ if NAMES.contains(&field) => Vec::new(),
        Node::Number(n) => lower(field, *n).into_iter().map(Node::Number).collect(),
        Node::Tuple("Fixed", items) => match items.as_slice() {
            [Node::Number(n)] => lower(field, *n).into_iter().map(fixed).collect(),
            _ => Vec::new(),
        },
        Node::Tuple("Uniform", items) => match items.as_slice() {
            [Node::Number(low), Node::Number(high)] => several(&[*low, *high, low + (high - low) / 2]),
            _ => Vec::new(),
        },
        Node::Tuple("OneOf", items) => match items.as_slice() {
            [Node::List(values)] => several(&values.iter().filter_map(number).collect::<Vec<_>>()),
            _ => Vec::new(),
        },
        Node::Tuple("Weighted", items) => match items.as_slice() {
            [Node::List(pairs)] => several(&pairs.iter().filter_map(second).collect::<Vec<_>>()),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

const fn number(node: &Node) -> Option<i128> {
    if let Node::Number(n) = node { Some(*n) } else { None }
}

fn second(node: &Node) -> Option<i128> {
    if let Node::Tuple("", pair) = node { pair.get(1).and_then(number) } else { None }
}

fn fixed(n: i128) -> Node {
    Node::Tuple("Fixed", vec![Node::Number(n)])
}

/// Each as a fixed number, the smallest first.
fn several(values: &[i128]) -> Vec<Node> {
    let mut values = values.to_vec();
    values.sort_unstable();
    values.dedup();
    values.into_iter().map(fixed).collect()
}

/// Smaller numbers than `n`, the smallest first.
fn lower(field: &str, n: i128) -> Vec<i128> {
    let mut values = match field {
        "size" => {
            let half = (n / 2 + PAGE - 1) / PAGE * PAGE;
            vec![PAGE, half, n / PAGE * PAGE]
        }
        // Ever smaller steps down, so that any bound is found in few tries.
        _ => [0, 1].into_iter().chain((1..64).map(|k| n - (n >> k))).collect(),
    };
    values.retain(|value| *value < n && *value >= 0);
    values.sort_unstable();
    values.dedup();
    values
}

/// Shorter memory for a line of the memory map: half of it, three quarters.
pub(super) fn shorter_memory(entry: &Node) -> Vec<Node> {
    let (Some(Node::Number(start)), Some(Node::Number(end))) = (entry.field("start"), entry.field("end"))
    else {
        return Vec::new();
    };
    let length = end + 1 - start;
    let pages = |length: i128| length / PAGE * PAGE;
    let mut lengths =
        vec![pages(length / 16), pages(length / 4), pages(length / 2), pages(length - length / 4)];
    lengths.retain(|shorter| *shorter >= PAGE && *shorter < length);
    lengths.dedup();
    let with = |length: i128| {
        let mut entry = entry.clone();
        if let Some(end) = entry.field_mut("end") {
            *end = Node::Number(start + length - 1);
        }
        entry
    };
    lengths.into_iter().map(with).collect()
}
