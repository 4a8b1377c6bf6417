//! Which events a reader wants, by their names.

/// Events of these names, or of all but these.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct EventFilter {
    only: Option<Box<[Box<str>]>>,
    except: Box<[Box<str>]>,
}

impl EventFilter {
    /// How many names there may be.
    pub const MAX: usize = 100;

    /// Of the events in `only` (all, where that is empty) those that are not in `except`. None when that is all.
    pub fn new(only: &[&str], except: &[&str]) -> Option<Self> {
        if only.is_empty() && except.is_empty() {
            return None;
        }
        let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
        Some(Self { only: (!only.is_empty()).then(|| names(only)), except: names(except) })
    }

    /// Whether an event of this name is wanted; one without a name is a `message`.
    pub fn takes(&self, name: &str) -> bool {
        let is_in = |names: &[Box<str>]| names.iter().any(|one| **one == *name);
        self.only.as_deref().is_none_or(is_in) && !is_in(&self.except)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_wanted_or_excepted() {
        let filter = EventFilter::new(&["a", "b"], &["b"]).unwrap();
        assert_eq!(["a", "b", "c"].map(|name| filter.takes(name)), [true, false, false]);
        let filter = EventFilter::new(&[], &["b"]).unwrap();
        assert_eq!(["a", "b", "message"].map(|name| filter.takes(name)), [true, false, true]);
        assert_eq!(EventFilter::new(&[], &[]), None);
    }
}
