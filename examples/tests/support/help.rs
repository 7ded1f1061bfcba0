//! The help of a verb against what it says.

use std::collections::BTreeSet;

use serde_json::Value;

use super::obd::Obd;

/// Checks that the help of `verb` has an example, and lists exactly the keys that `said` has.
#[track_caller]
pub(crate) fn assert_documented(verb: &str, said: &[Value]) {
    let help = Obd::new().text(&format!("help {verb}"));
    assert!(help.contains(&format!("Example: obd {verb} ")), "{help}");
    assert_eq!(help, Obd::new().text(&format!("{verb} --help")));
    let (_, keys) = help.split_once("JSON keys").unwrap();
    let documented: BTreeSet<_> = keys.lines().flat_map(names).collect();
    let mut found = BTreeSet::new();
    said.iter().for_each(|value| collect(value, &mut found));
    assert_eq!(documented, found, "the keys in the help of {verb}, and those that it says");
}

/// The keys that a line of help begins with. They stand before two spaces or the end of the line.
fn names(line: &str) -> impl Iterator<Item = String> {
    let keys = line.trim_start().split("  ").next().unwrap_or_default();
    let is_key = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let all = line.starts_with(' ') && keys.split(", ").all(is_key);
    keys.split(", ").filter(move |_| all).map(str::to_owned).collect::<Vec<_>>().into_iter()
}

fn collect(value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| {
            keys.insert(key.clone());
            collect(value, keys);
        }),
        Value::Array(items) => items.iter().for_each(|item| collect(item, keys)),
        _ => {}
    }
}
