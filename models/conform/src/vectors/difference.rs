//! Where two results differ.

use std::fmt;

use serde_json::Value;

/// A place inside a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if n == 0 => write!(f, "{key}")?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl Place {
    /// The first place where two results differ: the whole of them if they are of different forms.
    pub(super) fn of(recorded: &Value, modelled: &Value) -> Self {
        let mut steps = Vec::new();
        let (mut a, mut b) = (recorded, modelled);
        loop {
            let step = match (a, b) {
                (Value::Object(x), Value::Object(y)) => {
                    let keys = y.keys().chain(x.keys().filter(|key| !y.contains_key(*key)));
                    keys.into_iter().find(|key| x.get(*key) != y.get(*key)).map(|key| Step::Key(key.clone()))
                }
                (Value::Array(x), Value::Array(y)) => {
                    (0..x.len().max(y.len())).find(|at| x.get(*at) != y.get(*at)).map(Step::Index)
                }
                _ => None,
            };
            let Some(step) = step else { return Self(steps) };
            let deeper = (child(a, &step), child(b, &step));
            steps.push(step);
            match deeper {
                (Some(x), Some(y)) => (a, b) = (x, y),
                _ => return Self(steps),
            }
        }
    }

    /// Whether this is a part of the result, and not all of it.
    pub(super) fn is_inside(&self) -> bool {
        !self.0.is_empty()
    }

    /// What stands there.
    pub(super) fn get<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(value, child)
    }

    /// The place that holds this one.
    pub(super) fn parent(&self) -> Self {
        let mut steps = self.0.clone();
        steps.pop();
        Self(steps)
    }
}

fn child<'a>(value: &'a Value, step: &Step) -> Option<&'a Value> {
    match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_difference_is_found_at_any_depth() {
        let place = |a: &Value, b: &Value| Place::of(a, b).to_string();
        let one = json!({"a": 1, "b": {"c": [[1, 2], [3, 4]]}});
        assert_eq!(place(&one, &json!({"a": 1, "b": {"c": [[1, 2], [3, 5]]}})), "b.c[1][1]");
        assert_eq!(place(&one, &json!({"a": 1, "b": {"c": [[1, 2]]}})), "b.c[1]");
        assert_eq!(place(&one, &json!({"a": 1, "b": {"c": [[1, 2], [3, 4], 5]}})), "b.c[2]");
        assert_eq!(place(&one, &json!({"a": 1})), "b");
        assert_eq!(place(&one, &json!({"a": "1", "b": {}})), "a");
        assert_eq!(place(&json!(1), &json!("fail")), "");
        assert_eq!(Place::of(&one, &json!({"a": 2})).get(&one), Some(&json!(1)));
    }
}
