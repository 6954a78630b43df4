//! One object.

use models::run::state::ObjectState;

use crate::layout::{Paint, ascii};

/// An object: its fields, its life, the pointers that lead to it.
#[must_use]
pub fn object(state: &ObjectState, paint: Paint) -> String {
    let life = if state.alive { "alive" } else { "freed" };
    let head = format!("{} at {:016x}, {} bytes, {life}", state.type_name, state.at, state.size);
    let mut text = paint.heading(&head);
    text.push('\n');
    for line in object_lines(state) {
        text.push_str(ascii(&line).trim_end());
        text.push('\n');
    }
    text
}

/// The same without its head.
#[must_use]
pub fn object_lines(state: &ObjectState) -> Vec<String> {
    let mut lines = Vec::new();
    for field in &state.fields {
        let target = field.leads_to.map_or_else(String::new, |target| format!("  -> {target}"));
        lines.push(format!(
            "  +{:#05x} {:<24} {:#0width$x}{target}",
            field.offset,
            field.name,
            field.value,
            width = 2 + 2 * usize::from(field.size.min(8))
        ));
    }
    for (heading, section) in state.life.iter().filter(|(heading, _)| heading != "object") {
        lines.push(heading.clone());
        lines.extend(section.iter().map(|line| format!("  {line}")));
    }
    lines
}
