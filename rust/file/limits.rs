//! Limits on the text of the Python layer, which its JSON reader believes.

/// The deepest nesting of lists and objects.
const MAX_DEPTH: usize = 32;

/// The largest number of lists and objects. A layer has three, and a model at most 65536 layers.
const MAX_CONTAINERS: usize = 1 << 18;

/// The largest number of values besides those that grow with the model: names of features, classes, marks.
const MAX_VALUES: usize = 1 << 18;

/// Returns what is wrong with a JSON text whose parsed form would take a large multiple of its memory. `values` is a bound of
/// the values that grow with the model.
pub fn check(text: &str, values: usize) -> Result<(), String> {
    let (mut depth, mut containers, mut separators) = (0, 0, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b',' => separators += 1,
            b'[' | b'{' => {
                depth += 1;
                containers += 1;
                if depth > MAX_DEPTH {
                    return Err(format!("its estimator is nested more than {MAX_DEPTH} deep"));
                }
            }
            b']' | b'}' => depth = usize::saturating_sub(depth, 1),
            _ => {}
        }
    }
    match containers > MAX_CONTAINERS || separators > MAX_VALUES.saturating_add(values) {
        true => Err("its estimator has more values than a model of this size".into()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_limits() {
        for good in [
            r#"{"a": [1, {"b": "[[[\\\"[[,,,"}], "c": "\\"}"#.to_string(),
            "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH),
            format!("[{}0]", "0,".repeat(MAX_VALUES + 3)),
            format!("[\"{}\"]", "[,".repeat(1 << 20)),
            format!("[{}0]", "[],".repeat(MAX_CONTAINERS - 1)),
            "]".repeat(100),
        ] {
            assert_eq!(check(&good, 3), Ok(()));
        }
        for bad in [
            "[".repeat(MAX_DEPTH + 1),
            format!("[{}0]", "0,".repeat(MAX_VALUES + 4)),
            "[]".repeat(MAX_CONTAINERS + 1),
            format!("[\"\\\\\"{}]", "{".repeat(MAX_DEPTH)),
        ] {
            check(&bad, 3).unwrap_err();
        }
        assert_eq!(check("[0]", usize::MAX), Ok(()));
    }
}
