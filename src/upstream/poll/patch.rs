//! What changed from one JSON answer to the next, as a merge patch (RFC 7396).

use serde_json::{Map, Value};

/// The patch that makes `new` of `old`; None where none can say it: one of them is no object, or a member becomes
/// `null`, which in a patch means that it is gone.
pub(super) fn merge_patch(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return None };
    let mut patch = Map::new();
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, value) in new {
        let before = old.get(name);
        if before == Some(value) {
            continue;
        }
        let said = match before {
            Some(before @ Value::Object(_)) if value.is_object() => merge_patch(before, value)?,
            _ if has_null(value) => return None,
            _ => value.clone(),
        };
        patch.insert(name.clone(), said);
    }
    Some(Value::Object(patch))
}

/// Whether a patch would take something of the value for a removal. Arrays are taken as they are.
fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.values().any(has_null),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// RFC 7396, section 2, word for word.
    fn apply(target: Value, patch: &Value) -> Value {
        let Value::Object(patch) = patch else { return patch.clone() };
        let mut target = match target {
            Value::Object(target) => target,
            _ => Map::new(),
        };
        for (name, value) in patch {
            if value.is_null() {
                target.remove(name);
            } else {
                let before = target.remove(name).unwrap_or(Value::Null);
                target.insert(name.clone(), apply(before, value));
            }
        }
        Value::Object(target)
    }

    #[test]
    fn a_patch_says_what_changed_and_nothing_else() {
        for (old, new, patch) in [
            (json!({"a": 1, "b": 2}), json!({"a": 1, "b": 3}), json!({"b": 3})),
            (json!({"a": 1, "b": 2}), json!({"b": 2}), json!({"a": null})),
            (json!({}), json!({"a": {"b": [null, 1]}}), json!({"a": {"b": [null, 1]}})),
            (json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": 1, "c": 3}}), json!({"a": {"c": 3}})),
            (json!({"a": {"b": 1}}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"a": [1]}), json!({"a": {"b": 1}}), json!({"a": {"b": 1}})),
            (json!({"a": null}), json!({"a": null, "b": 1}), json!({"b": 1})),
            (json!({"a": {"b": 1}}), json!({"a": {}}), json!({"a": {"b": null}})),
        ] {
            assert_eq!(merge_patch(&old, &new), Some(patch.clone()), "{old} -> {new}");
            assert_eq!(apply(old, &patch), new);
        }
    }

    #[test]
    fn what_no_patch_can_say_is_said_by_none() {
        for (old, new) in [
            (json!([1]), json!([2])),
            (json!({"a": 1}), json!("x")),
            (json!("x"), json!({"a": 1})),
            (json!({"a": 1}), json!({"a": null})),
            (json!({"a": 1}), json!({"a": {"b": null}})),
            (json!({"a": {"b": 1}}), json!({"a": {"b": null}})),
        ] {
            assert_eq!(merge_patch(&old, &new), None, "{old} -> {new}");
        }
    }

    #[test]
    fn whatever_changes_the_patch_makes_the_new_of_the_old() {
        let mut state = 7_u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        fn value(random: &mut impl FnMut(u64) -> u64, depth: u64) -> Value {
            match random(if depth > 3 { 4 } else { 7 }) {
                0 => Value::Null,
                1 => Value::from(random(3)),
                2 => Value::from("x".repeat(random(3) as usize)),
                3 => json!([null, random(2)]),
                _ => {
                    let count = random(4);
                    let member = |_| (format!("k{}", random(4)), value(random, depth + 1));
                    Value::Object((0..count).map(member).collect())
                }
            }
        }
        let (mut said, mut unsaid) = (0, 0);
        for _ in 0..20_000 {
            let (old, new) = (value(&mut random, 0), value(&mut random, 0));
            match merge_patch(&old, &new) {
                Some(patch) => {
                    assert_eq!(apply(old.clone(), &patch), new, "{old} by {patch}");
                    said += 1;
                }
                None => unsaid += 1,
            }
        }
        assert!(said > 1000 && unsaid > 1000, "{said} {unsaid}");
    }
}
