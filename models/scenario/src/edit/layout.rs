//! From a tree to lines.

use schema::tree::{Fields, Node};

/// No line is wider than this, unless a single word is.
const WIDTH: usize = 100;
const STEP: usize = 4;

/// Fields whose numbers are addresses, masks or ids.
const HEXADECIMAL: [(&str, &str); 12] = [
    ("E820Entry", "start"),
    ("E820Entry", "end"),
    ("AddrRange", "start"),
    ("AddrRange", "end"),
    ("Region", "start"),
    ("Region", "size"),
    ("Device", "vendor_id"),
    ("Device", "device_id"),
    ("Device", "bus_dma_limit"),
    ("Stmt::SetMinAlignMask", "mask"),
    ("Stmt::SetSegBoundary", "mask"),
    ("Stmt::SetMaxSegSize", "bytes"),
];

/// The text of a tree.
pub(super) fn text(node: &Node) -> String {
    let mut out = String::new();
    write(&mut out, node, 0, 0);
    out
}

/// On one line.
pub(super) fn line(node: &Node) -> String {
    let joined = |nodes: &[Node]| nodes.iter().map(line).collect::<Vec<_>>().join(", ");
    match node {
        Node::Absent => "None".to_owned(),
        Node::Word(word) => word.clone(),
        Node::Number(n) => n.to_string(),
        Node::List(nodes) => format!("[{}]", joined(nodes)),
        Node::Tuple(head, nodes) => format!("{head}({})", joined(nodes)),
        Node::Fields(Fields { of, head, fields }) => {
            let all: Vec<_> =
                fields.iter().map(|(name, node)| format!("{name}: {}", value(of, name, node))).collect();
            format!("{head}({})", all.join(", "))
        }
    }
}

/// The value of a field on one line.
fn value(of: &str, name: &str, node: &Node) -> String {
    match node {
        Node::Number(n) if HEXADECIMAL.contains(&(of, name)) => format!("{n:#x}"),
        other => line(other),
    }
}

/// Appends a node whose first line begins `used` columns in and may have to leave a column for a comma.
fn write(out: &mut String, node: &Node, indent: usize, used: usize) {
    let short = line(node);
    // The file as a whole is never one line.
    if indent + used + short.len() < WIDTH && (indent, used) != (0, 0) {
        out.push_str(&short);
        return;
    }
    let inner = " ".repeat(indent + STEP);
    let items = |out: &mut String, nodes: &[Node]| {
        for node in nodes {
            out.push_str(&inner);
            write(out, node, indent + STEP, 1);
            out.push_str(",\n");
        }
        out.push_str(&" ".repeat(indent));
    };
    match node {
        Node::Absent | Node::Word(_) | Node::Number(_) => out.push_str(&short),
        Node::List(nodes) => {
            out.push_str("[\n");
            items(out, nodes);
            out.push(']');
        }
        Node::Tuple(head, nodes) => {
            out.push_str(&format!("{head}(\n"));
            items(out, nodes);
            out.push(')');
        }
        Node::Fields(Fields { of, head, fields }) => {
            out.push_str(&format!("{head}(\n"));
            for (name, node) in fields {
                out.push_str(&format!("{inner}{name}: "));
                match node {
                    Node::Number(_) => out.push_str(&value(of, name, node)),
                    _ => write(out, node, indent + STEP, name.len() + 3),
                }
                out.push_str(",\n");
            }
            out.push_str(&" ".repeat(indent));
            out.push(')');
        }
    }
}
