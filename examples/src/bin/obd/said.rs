//! What a verb says, as text.

use serde_json::Value;

/// An object as `key: value` lines, what is inside it indented.
pub(crate) fn text(value: &Value) -> String {
    let mut text = String::new();
    object(value, 0, &mut text);
    text
}

fn object(value: &Value, depth: usize, text: &mut String) {
    for (key, value) in value.as_object().into_iter().flatten() {
        entry(key, value, depth, text);
    }
}

fn entry(key: &str, value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                entry(&format!("{key} {n}"), item, depth, text);
            }
        }
        Value::Object(_) => {
            text.push_str(&format!("{indent}{key}:\n"));
            object(value, depth + 1, text);
        }
        // Layers and registries say what they like; a terminal would obey some of it.
        Value::String(said) => {
            text.push_str(&format!("{indent}{key}: {}\n", said.replace(char::is_control, " ")));
        }
        Value::Null => text.push_str(&format!("{indent}{key}: none\n")),
        other => text.push_str(&format!("{indent}{key}: {other}\n")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_inside_is_indented() {
        let said = json!({ "a": null, "b": [{ "c": 1 }, "two"], "d": { "e": { "f": "x\u{1b}[0m\ny" } } });
        let lines = ["a: none", "b 0:", "  c: 1", "b 1: two", "d:", "  e:", "    f: x [0m y", ""];
        assert_eq!(text(&said), lines.join("\n"));
    }
}
