//! "Did you mean": the known word that is nearest to an unknown one, and how the known ones are listed.

/// The candidate that `word` was probably meant to be: a few letters off, or one of the two within the other.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    let judged = candidates.into_iter().filter_map(|candidate| {
        let plain = candidate.to_ascii_lowercase();
        let distance = strsim::damerau_levenshtein(&word, &plain);
        let close = distance <= (plain.chars().count() / 3).max(1);
        let within = word.len().min(plain.len()) >= 4 && (plain.contains(&word) || word.contains(&plain));
        (close || within).then_some(((!close, distance), candidate))
    });
    judged.min_by_key(|&(rank, _)| rank).map(|(_, candidate)| candidate)
}

/// `a`, `b` or `c`.
pub fn any_of<T: AsRef<str>>(words: &[T]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{}`", word.as_ref())).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, first)) => format!("{} or {last}", first.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        let keys = ["listen", "backend", "publish_keys", "max_events", "url", "url_file"];
        for (word, meant) in [
            ("lisen", Some("listen")),
            ("publish-keys", Some("publish_keys")),
            ("publishKeys", Some("publish_keys")),
            ("keys", Some("publish_keys")),
            ("uri", Some("url")),
            ("Backend", Some("backend")),
            ("events", Some("max_events")),
            ("colour", None),
        ] {
            assert_eq!(nearest(word, keys), meant, "{word}");
        }
    }

    #[test]
    fn words_are_listed_as_one_says_them() {
        assert_eq!(any_of(&["a"]), "`a`");
        assert_eq!(any_of(&["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
