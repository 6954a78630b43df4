//! Leaving out what need not be written.
//!
//! The defaults are those of the types themselves: a value of each type is read from a text that gives no more than
//! it must, and what it then holds in its other fields is what a reader would fill in.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::text::read;
use crate::tree::{self, Fields, Node};
use crate::{
    Device, Driver, Expect, Explore, FindingPattern, Inject, Iommu, Kernel, Machine, MapArgs, MapSgArgs,
    PartArgs, ProcStmt, Process, Queue, Registers, Reserved, Stmt, SubmitArgs, SyncArgs, Trample, UnmapArgs,
    UnmapSgArgs,
};

/// By type and field.
type Defaults = BTreeMap<(String, &'static str), Node>;

fn known() -> &'static Defaults {
    static DEFAULTS: OnceLock<Defaults> = OnceLock::new();
    DEFAULTS.get_or_init(defaults)
}

/// Takes away every field that a reader would fill in with the same.
pub(crate) fn leave_out(node: &mut Node) {
    walk(node, known());
}

/// Whether a field of a type may be left out.
#[must_use]
pub fn may_be_left_out(of: &str, field: &'static str) -> bool {
    known().contains_key(&(of.to_owned(), field))
}

fn walk(node: &mut Node, defaults: &Defaults) {
    match node {
        Node::Absent | Node::Word(_) | Node::Number(_) => {}
        Node::List(nodes) | Node::Tuple(_, nodes) => nodes.iter_mut().for_each(|node| walk(node, defaults)),
        Node::Fields(Fields { of, fields, .. }) => {
            fields.retain(|(name, node)| {
                *node != Node::Absent && defaults.get(&(of.clone(), *name)).is_none_or(|other| other != node)
            });
            fields.iter_mut().for_each(|(_, node)| walk(node, defaults));
        }
    }
}

fn defaults() -> Defaults {
    let mut all = Defaults::new();
    add::<Kernel>(&mut all, "(version: \"\")", &["version"]);
    add::<Machine>(
        &mut all,
        "(name: \"\", cpu_vendor: Amd, cpus: 1, e820: [])",
        &["name", "cpu_vendor", "cpus", "e820"],
    );
    add::<Iommu>(&mut all, "AmdVi()", &[]);
    add::<Iommu>(&mut all, "Vtd()", &[]);
    add::<Reserved>(&mut all, "(name: \"\", region: (start: 0, size: 1))", &["name", "region"]);
    add::<Device>(&mut all, "(bdf: \"\")", &["bdf"]);
    add::<Driver>(&mut all, "(name: \"\")", &["name"]);
    add::<Registers>(&mut all, "Module()", &[]);
    add::<Queue>(&mut all, "(name: \"\", body: [])", &["name", "body"]);
    add::<Stmt>(&mut all, "AllocBuffer(name: \"\", size: Fixed(1))", &["name", "size"]);
    add::<Stmt>(&mut all, "Lock(name: \"\", body: [])", &["name", "body"]);
    add::<MapArgs>(&mut all, "(name: \"\", dir: ToDevice)", &["name", "dir"]);
    add::<MapSgArgs>(
        &mut all,
        "(name: \"\", entries: Fixed(1), size: Fixed(1), dir: ToDevice)",
        &["name", "entries", "size", "dir"],
    );
    add::<PartArgs>(&mut all, "(name: \"\")", &["name"]);
    add::<UnmapArgs>(&mut all, "(name: \"\")", &["name"]);
    add::<UnmapSgArgs>(&mut all, "(name: \"\")", &["name"]);
    add::<SyncArgs>(&mut all, "(name: \"\")", &["name"]);
    add::<Stmt>(&mut all, "FreeCoherent(name: \"\")", &["name"]);
    add::<Stmt>(&mut all, "IfKernel(has: \"\", body: [])", &["has", "body"]);
    add::<SubmitArgs>(&mut all, "(name: \"\", dma: Read)", &["name", "dma"]);
    add::<Process>(&mut all, "(name: \"\", body: [])", &["name", "body"]);
    add::<ProcStmt>(&mut all, "AllocPages(count: Fixed(1))", &["count"]);
    add::<Inject>(&mut all, "()", &[]);
    add::<Trample>(&mut all, "(object: \"\", percent: 0)", &["object", "percent"]);
    add::<Explore>(&mut all, "()", &[]);
    add::<Expect>(&mut all, "Clean()", &[]);
    add::<Expect>(&mut all, "Findings(all: [])", &["all"]);
    add::<FindingPattern>(&mut all, "(kind: \"\")", &["kind"]);
    all
}

/// What a `T` read from `text` holds besides what is `given` there.
fn add<T: Serialize + DeserializeOwned>(all: &mut Defaults, text: &str, given: &[&str]) {
    // A type that no longer reads like this has its fields written out; a test notices.
    let Ok(value) = read::<T>(text) else { return };
    if let Node::Fields(Fields { of, fields, .. }) = tree::of(&value) {
        for (name, node) in fields {
            if !given.contains(&name) {
                all.insert((of.clone(), name), node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_is_read_from_its_sample() {
        let all = defaults();
        let types: std::collections::BTreeSet<&str> = all.keys().map(|(of, _)| of.as_str()).collect();
        let wanted = [
            "AllocPages",
            "Device",
            "Driver",
            "Explore",
            "FindingPattern",
            "Inject",
            "Kernel",
            "Machine",
            "MapArgs",
            "MapSgArgs",
            "Process",
            "Queue",
            "Reserved",
            "SubmitArgs",
            "Trample",
        ];
        for name in wanted {
            assert!(types.iter().any(|of| of.ends_with(name)), "no defaults of {name}: {types:?}");
        }
        assert_eq!(all.get(&("Device".to_owned(), "dma_bits")), Some(&Node::Number(64)));
    }
}
