//! Values that are one of a few words.

use crate::config::raw::{RawValue, Rejection};
use crate::suggest::{any_of, nearest};

/// One of a few words.
pub(in crate::config) fn word<T: Clone, const N: usize>(
    words: [(&'static str, T); N],
) -> impl Fn(&RawValue<'_>) -> Result<T, Rejection> {
    move |raw| {
        let names = words.each_ref().map(|(name, _)| *name);
        let wanted = any_of(&names);
        let text = raw.text(&wanted)?;
        let known = words.iter().find(|(name, _)| *name == text);
        known.map(|(_, value)| value.clone()).ok_or_else(|| not_one_of(&wanted, text, names))
    }
}

/// The rejection of a word that is none of `names`, with the one that was probably meant.
pub(in crate::config) fn not_one_of<'n>(
    wanted: &str,
    text: &str,
    names: impl IntoIterator<Item = &'n str>,
) -> Rejection {
    let suggestion = nearest(text, names).map(|meant| format!("did you mean \"{meant}\"?"));
    Rejection { message: format!("must be {wanted}"), suggestion }
}
