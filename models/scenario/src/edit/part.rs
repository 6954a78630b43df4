//! What a scenario can do without, and what can be simpler in it.

use std::ops::Range;

use super::{Tree, links, numbers};
use schema::may_be_left_out;
use schema::tree::{Fields, Node};

/// Fields that say what a scenario is about, and which no run depends on or every run needs.
const KEPT: [(&str, &str); 7] = [
    ("ScenarioFile", "about"),
    ("ScenarioFile", "source"),
    ("ScenarioFile", "kernel"),
    ("ScenarioFile", "machine"),
    ("ScenarioFile", "explore"),
    ("ScenarioFile", "expect"),
    ("Device", "name"),
];

/// One way to make a scenario smaller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Devices, with the drivers that only they have.
    Devices,
    /// Drivers: their devices then have none.
    Drivers,
    /// The statements of a driver by what they name: a mapping goes with all that is done to it.
    Names {
        /// Which driver.
        driver: usize,
    },
    /// The words of the kernel's command line.
    Words,
    /// The items of a list, or the fields of a struct that have a default.
    Items {
        /// Where: numbers of children from the root.
        path: Vec<usize>,
        /// The field in which it stands, for whoever watches.
        field: &'static str,
    },
    /// A statement with a body is replaced by its body.
    Unwrap {
        /// The list of statements.
        path: Vec<usize>,
    },
    /// A queue's work is done by the probe.
    QueueIntoProbe {
        /// Which driver.
        driver: usize,
    },
    /// A smaller number, or a fixed one instead of one that is drawn.
    Number {
        /// Where.
        path: Vec<usize>,
        /// The field.
        field: &'static str,
    },
    /// Less memory in a line of the memory map.
    Memory {
        /// Where.
        path: Vec<usize>,
    },
}

/// All that can be tried on a tree, the coarse before the fine.
#[must_use]
pub fn parts(tree: &Tree) -> Vec<Part> {
    let root = &tree.0;
    let mut all = Vec::new();
    // What the scenario as a whole can do without: processes, injections, the command line.
    all.push(Part::Items { path: Vec::new(), field: "scenario" });
    all.push(Part::Devices);
    all.push(Part::Drivers);
    let mut found = Found::default();
    walk(root, &mut Vec::new(), "", &mut found);
    // What lies higher up holds more.
    found.lists.sort_by_key(|part| match part {
        Part::Items { path, .. } => path.len(),
        _ => 0,
    });
    all.append(&mut found.lists);
    for driver in 0..links::drivers(root).len() {
        all.push(Part::Names { driver });
        all.push(Part::QueueIntoProbe { driver });
    }
    all.append(&mut found.unwraps);
    all.push(Part::Words);
    all.append(&mut found.options);
    all.append(&mut found.memory);
    all.append(&mut found.numbers);
    all
}

#[derive(Default)]
struct Found {
    lists: Vec<Part>,
    options: Vec<Part>,
    unwraps: Vec<Part>,
    memory: Vec<Part>,
    numbers: Vec<Part>,
}

fn walk(node: &Node, path: &mut Vec<usize>, field: &'static str, found: &mut Found) {
    match node {
        Node::Absent | Node::Word(_) => {}
        Node::Number(_) => {
            found.numbers.push(Part::Number { path: path.clone(), field });
        }
        Node::Tuple("Fixed" | "Uniform" | "OneOf" | "Weighted", _) => {
            found.numbers.push(Part::Number { path: path.clone(), field });
        }
        Node::List(items) => {
            if !items.is_empty() && !matches!(field, "devices" | "drivers" | "all" | "log") {
                found.lists.push(Part::Items { path: path.clone(), field });
            }
            if items.iter().any(|item| item.field("body").is_some() && is_statement(item)) {
                found.unwraps.push(Part::Unwrap { path: path.clone() });
            }
            for (n, item) in items.iter().enumerate() {
                path.push(n);
                walk(item, path, field, found);
                path.pop();
            }
        }
        Node::Tuple(_, items) => {
            for (n, item) in items.iter().enumerate() {
                path.push(n);
                walk(item, path, field, found);
                path.pop();
            }
        }
        Node::Fields(fields) => {
            if !path.is_empty() && !optional(fields).is_empty() {
                found.options.push(Part::Items { path: path.clone(), field });
            }
            if fields.of == "E820Entry" {
                found.memory.push(Part::Memory { path: path.clone() });
                return;
            }
            for (n, (name, child)) in fields.fields.iter().enumerate() {
                if matches!((fields.of.as_str(), *name), ("ScenarioFile", "expect" | "explore")) {
                    continue;
                }
                path.push(n);
                walk(child, path, name, found);
                path.pop();
            }
        }
    }
}

/// Whether it is a statement, and no queue or process, which also have a body.
fn is_statement(node: &Node) -> bool {
    matches!(node, Node::Fields(Fields { head, .. }) if !head.is_empty())
}

/// Places of the fields that can be left out.
fn optional(fields: &Fields) -> Vec<usize> {
    let root = fields.of == "ScenarioFile";
    let may = |name: &'static str| {
        let kept = KEPT.contains(&(fields.of.as_str(), name));
        // A driver goes with its devices, and the lists of statements one by one.
        !kept && name != "driver" && (root && name != "drivers" || may_be_left_out(&fields.of, name))
    };
    (0..fields.fields.len()).filter(|n| may(fields.fields[*n].0)).collect()
}

impl Part {
    /// How many things can be left out in blocks; 0 if this part is not of that sort.
    #[must_use]
    pub fn len(&self, tree: &Tree) -> usize {
        let root = &tree.0;
        match self {
            Self::Devices => links::devices(root).len(),
            Self::Drivers => links::drivers(root).len(),
            Self::Names { driver } => links::names(root, *driver).len(),
            Self::Words => words(root).len(),
            Self::Items { path, .. } => match at(root, path) {
                Some(Node::List(items)) => items.len(),
                Some(Node::Fields(fields)) => optional(fields).len(),
                _ => 0,
            },
            Self::Unwrap { .. } | Self::QueueIntoProbe { .. } | Self::Number { .. } | Self::Memory { .. } => {
                0
            }
        }
    }

    /// The tree without some of them.
    #[must_use]
    pub fn without(&self, tree: &Tree, range: Range<usize>) -> Option<Tree> {
        if range.end > self.len(tree) {
            return None;
        }
        let root = &tree.0;
        let smaller = match self {
            Self::Devices => links::without_devices(root, range),
            Self::Drivers => links::without_drivers(root, range),
            Self::Names { driver } => links::without_names(root, *driver, range),
            Self::Words => without_words(root, range),
            Self::Items { path, .. } => {
                let mut root = root.clone();
                match root.at_mut(path)? {
                    Node::List(items) => drop(items.drain(range)),
                    Node::Fields(fields) => {
                        let gone = optional(fields)[range].to_vec();
                        let mut n = 0;
                        fields.fields.retain(|_| {
                            n += 1;
                            !gone.contains(&(n - 1))
                        });
                    }
                    _ => return None,
                }
                Some(root)
            }
            Self::Unwrap { .. } | Self::QueueIntoProbe { .. } | Self::Number { .. } | Self::Memory { .. } => {
                None
            }
        }?;
        Some(Tree(smaller))
    }

    /// Trees in which this part is simpler, the simplest first; empty if it is of the other sort.
    #[must_use]
    pub fn simpler(&self, tree: &Tree) -> Vec<Tree> {
        let root = &tree.0;
        let replaced = |path: &[usize], nodes: Vec<Node>| -> Vec<Tree> {
            let with = |node| {
                let mut root = root.clone();
                *root.at_mut(path)? = node;
                Some(Tree(root))
            };
            nodes.into_iter().filter_map(with).collect()
        };
        match self {
            Self::Unwrap { path } => {
                let items = at(root, path).map_or(&[][..], Node::items);
                let spliced = (0..items.len()).filter(|n| is_statement(&items[*n])).filter_map(|n| {
                    let body = items[n].field("body")?.items().to_vec();
                    let mut all = items.to_vec();
                    all.splice(n..=n, body);
                    Some(Node::List(all))
                });
                replaced(path, spliced.collect())
            }
            Self::QueueIntoProbe { driver } => {
                let queues = links::drivers(root).get(*driver).and_then(|driver| driver.field("workload"));
                let count = queues.map_or(0, |queues| queues.items().len());
                (0..count)
                    .filter_map(|queue| links::queue_into_probe(root, *driver, queue).map(Tree))
                    .collect()
            }
            Self::Number { path, field } => {
                at(root, path).map_or_else(Vec::new, |node| replaced(path, numbers::simpler(field, node)))
            }
            Self::Memory { path } => {
                at(root, path).map_or_else(Vec::new, |node| replaced(path, numbers::shorter_memory(node)))
            }
            Self::Devices | Self::Drivers | Self::Names { .. } | Self::Words | Self::Items { .. } => {
                Vec::new()
            }
        }
    }

    /// What is being tried, for whoever watches.
    #[must_use]
    pub fn words(&self) -> &'static str {
        match self {
            Self::Devices => "devices",
            Self::Drivers => "drivers",
            Self::Names { .. } => "statements by name",
            Self::Words => "words of the command line",
            Self::Items { field: "", .. } => "fields",
            Self::Items { field, .. } | Self::Number { field, .. } => field,
            Self::Unwrap { .. } => "nested statements",
            Self::QueueIntoProbe { .. } => "queues",
            Self::Memory { .. } => "memory",
        }
    }
}

fn at<'a>(root: &'a Node, path: &[usize]) -> Option<&'a Node> {
    path.iter().try_fold(root, |node, n| node.children().nth(*n))
}

/// The words of the command line.
fn words(root: &Node) -> Vec<String> {
    let Some(Node::Word(text)) = root.field("cmdline") else { return Vec::new() };
    let line: String = ron::from_str(text).unwrap_or_default();
    line.split_whitespace().map(str::to_owned).collect()
}

fn without_words(root: &Node, range: Range<usize>) -> Option<Node> {
    let mut left = words(root);
    left.drain(range);
    let mut root = root.clone();
    *root.field_mut("cmdline")? = Node::Word(ron::to_string(&left.join(" ")).ok()?);
    Some(root)
}
