//! What goes with what: a device and its driver, a statement and those that use what it makes.

use std::collections::BTreeSet;
use std::ops::Range;

use schema::tree::{Fields, Node};

/// Fields by which a statement names what it makes or uses.
const NAMES: [&str; 2] = ["name", "buffer"];

/// The list at `fields` below the root.
fn list<'a>(root: &'a Node, fields: &[&str]) -> &'a [Node] {
    fields.iter().try_fold(root, |node, field| node.field(field)).map_or(&[], Node::items)
}

fn list_mut<'a>(root: &'a mut Node, fields: &[&str]) -> Option<&'a mut Vec<Node>> {
    fields.iter().try_fold(root, |node, field| node.field_mut(field))?.items_mut()
}

/// The devices of the machine.
pub(super) fn devices(root: &Node) -> &[Node] {
    list(root, &["machine", "devices"])
}

/// The drivers.
pub(super) fn drivers(root: &Node) -> &[Node] {
    list(root, &["drivers"])
}

/// Takes devices away, the drivers that no other device has, and what processes do to them.
pub(super) fn without_devices(root: &Node, range: Range<usize>) -> Option<Node> {
    let mut root = root.clone();
    let devices = list_mut(&mut root, &["machine", "devices"])?;
    let gone: Vec<Node> = devices.drain(range).collect();
    let bdfs: Vec<Node> = gone.iter().filter_map(|device| device.field("bdf").cloned()).collect();
    let needed: Vec<Node> = devices.iter().filter_map(|device| device.field("driver").cloned()).collect();
    let lost = gone.iter().filter_map(|device| device.field("driver").cloned());
    let idle: Vec<Node> = lost.filter(|driver| !needed.contains(driver)).collect();
    forget_drivers(&mut root, &idle);
    forget_in_processes(&mut root, &bdfs);
    forget_suppliers(&mut root, &bdfs);
    Some(root)
}

/// Takes drivers away; their devices then have none.
pub(super) fn without_drivers(root: &Node, range: Range<usize>) -> Option<Node> {
    let mut root = root.clone();
    let gone: Vec<Node> =
        drivers(&root).get(range)?.iter().filter_map(|d| d.field("name").cloned()).collect();
    forget_drivers(&mut root, &gone);
    for device in list_mut(&mut root, &["machine", "devices"]).into_iter().flatten() {
        if let Node::Fields(device) = device {
            device.fields.retain(|(name, value)| *name != "driver" || !gone.contains(value));
        }
    }
    Some(root)
}

fn forget_drivers(root: &mut Node, names: &[Node]) {
    if let Some(drivers) = list_mut(root, &["drivers"]) {
        drivers.retain(|driver| driver.field("name").is_none_or(|name| !names.contains(name)));
    }
    forget_in_processes(root, names);
}

/// Takes away what processes do to a device or with a driver.
fn forget_in_processes(root: &mut Node, names: &[Node]) {
    let names_one = |item: &Node| {
        ["bdf", "driver"].iter().any(|field| item.field(field).is_some_and(|value| names.contains(value)))
    };
    if let Some(processes) = root.field_mut("processes") {
        drop_items(processes, &names_one);
    }
}

/// Takes away what says that somebody needs one of these devices.
fn forget_suppliers(root: &mut Node, bdfs: &[Node]) {
    let supplies = |item: &Node, field: &str| item.field(field).is_some_and(|value| bdfs.contains(value));
    for device in list_mut(root, &["machine", "devices"]).into_iter().flatten() {
        if let Some(suppliers) = device.field_mut("suppliers").and_then(Node::items_mut) {
            suppliers.retain(|supplier| !supplies(supplier, "bdf"));
        }
    }
    for driver in list_mut(root, &["drivers"]).into_iter().flatten() {
        drop_items(driver, &|item| supplies(item, "supplier"));
    }
}

/// Takes the items away for which `goes` holds, from all lists in `node`.
fn drop_items(node: &mut Node, goes: &dyn Fn(&Node) -> bool) {
    if let Node::List(nodes) = node {
        nodes.retain(|item| !goes(item));
    }
    let mut n = 0;
    while let Some(child) = node.child_mut(n) {
        drop_items(child, goes);
        n += 1;
    }
}

/// The names that the statements of the n-th driver make or use, sorted.
pub(super) fn names(root: &Node, driver: usize) -> Vec<Node> {
    let mut found = BTreeSet::new();
    if let Some(driver) = drivers(root).get(driver) {
        for section in ["probe", "workload", "remove"] {
            if let Some(body) = driver.field(section) {
                collect(body, &mut found);
            }
        }
    }
    found.into_iter().map(Node::Word).collect()
}

fn collect(node: &Node, found: &mut BTreeSet<String>) {
    if let Node::Fields(Fields { head, .. }) = node
        && !head.is_empty()
    {
        for field in NAMES {
            if let Some(Node::Word(word)) = node.field(field) {
                found.insert(word.clone());
            }
        }
    }
    node.children().for_each(|child| collect(child, found));
}

/// Takes away all statements of the n-th driver that name one of these.
pub(super) fn without_names(root: &Node, driver: usize, range: Range<usize>) -> Option<Node> {
    let gone = names(root, driver).get(range)?.to_vec();
    let mut root = root.clone();
    let node = list_mut(&mut root, &["drivers"])?.get_mut(driver)?;
    let names_one = |item: &Node| {
        let statement = matches!(item, Node::Fields(Fields { head, .. }) if !head.is_empty());
        statement && NAMES.iter().any(|field| item.field(field).is_some_and(|value| gone.contains(value)))
    };
    for section in ["probe", "workload", "remove"] {
        if let Some(body) = node.field_mut(section) {
            drop_items(body, &names_one);
        }
    }
    Some(root)
}

/// Lets the n-th driver do in its probe what it did in a queue: a context less.
pub(super) fn queue_into_probe(root: &Node, driver: usize, queue: usize) -> Option<Node> {
    let mut root = root.clone();
    let node = list_mut(&mut root, &["drivers"])?.get_mut(driver)?;
    let queues = node.field_mut("workload")?.items_mut()?;
    if queue >= queues.len() {
        return None;
    }
    let body = queues.remove(queue).field("body")?.items().to_vec();
    match node.field_mut("probe") {
        Some(probe) => probe.items_mut()?.extend(body),
        None => {
            let Node::Fields(fields) = node else { return None };
            let at = fields.fields.iter().position(|(name, _)| *name == "workload")?;
            fields.fields.insert(at, ("probe", Node::List(body)));
        }
    }
    Some(root)
}
