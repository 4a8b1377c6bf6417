use std::slice;

use super::*;

use crate::event::Name;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn names(texts: &[&str]) -> Vec<TopicFilter> {
    texts.iter().map(|text| TopicFilter::parse_pattern(text).unwrap()).collect()
}

fn user(text: &str) -> Key {
    Key::User(name(text))
}

fn topics(members: &Members, of: &Key) -> Vec<String> {
    members.topics(of).map(ToString::to_string).collect()
}

fn held(held: &HeldTopics) -> Vec<(String, HeldBy)> {
    held.iter().map(|(topic, via)| (topic.to_string(), via)).collect()
}

#[test]
fn a_set_is_changed_once_and_tells_what_it_was_before() {
    let mut members = Members::default();
    let now = Instant::now();
    let u = user("u");
    let add = |add: &[&str], remove: &[&str]| TopicEdit::Change { add: names(add), remove: names(remove) };
    let one =
        members.edit(&u, add(&["b", "a", "b"], &[]), EditBy::Backend, Position(1), now).unwrap().unwrap();
    assert_eq!(&*one.add, names(&["b", "a"]));
    assert!(
        members.edit(&u, add(&["a"], &[]), EditBy::Backend, Position(2), now).unwrap().is_none(),
        "it has it already"
    );
    let two = members
        .edit(&u, TopicEdit::Replace(names(&["c", "a"])), EditBy::Backend, Position(2), now)
        .unwrap()
        .unwrap();
    assert_eq!((&*two.add, &*two.remove), (&names(&["c"])[..], &[(name("b").into(), true)][..]));
    let three =
        members.edit(&u, add(&["a"], &["a", "x"]), EditBy::Backend, Position(3), now).unwrap().unwrap();
    assert_eq!(
        &*three.remove,
        [(name("a").into(), true), (name("x").into(), false)],
        "a stream may have asked for x itself"
    );
    assert_eq!(topics(&members, &u), ["a", "c"]);
    let at = |position| held(&members.at(&[user("other"), u.clone()], Position(position)));
    assert_eq!(at(0), []);
    assert_eq!(at(1), [("a".to_owned(), HeldBy::USER), ("b".to_owned(), HeldBy::USER)]);
    assert_eq!(at(2), [("a".to_owned(), HeldBy::USER), ("c".to_owned(), HeldBy::USER)]);
    assert_eq!(at(3), at(2));
    assert_eq!(members.next(slice::from_ref(&u), Position(1)).unwrap().position, Position(2));
    assert!(members.next(&[user("other")], Position(0)).is_none());
    assert_eq!(members.removed(slice::from_ref(&u), Position(2)), names(&["a", "x"]));
    assert_eq!(
        members
            .edit(&Key::Broadcast, TopicEdit::Replace(vec![]), EditBy::Backend, Position(4), now)
            .unwrap_err(),
        BadEdit::NoHolder
    );
}

#[test]
fn what_several_give_is_held_until_all_have_taken_it() {
    let mut members = Members::default();
    let now = Instant::now();
    let keys = [user("n"), Key::Session(name("n")), Key::Client(name("n"))];
    for (nth, key) in (1..).zip(&keys) {
        members.edit(key, TopicEdit::Replace(names(&["t"])), EditBy::Backend, Position(nth), now).unwrap();
    }
    assert_eq!(held(&members.at(&keys, Position(3))), [("t".to_owned(), HeldBy::GIVEN)]);
    members.edit(&keys[1], TopicEdit::Replace(vec![]), EditBy::Backend, Position(4), now).unwrap();
    assert_eq!(held(&members.at(&keys, Position(4))), [("t".to_owned(), HeldBy::USER | HeldBy::CLIENT)]);
    members.forget(&keys[2]);
    assert_eq!(held(&members.at(&keys[..1], Position(4))), [("t".to_owned(), HeldBy::USER)]);
}

#[test]
fn what_is_held_is_bounded_and_can_always_shrink() {
    let bounds = MemberBounds { topics: 2, all: 3, ..MemberBounds::default() };
    let mut members = Members { bounds, ..Members::default() };
    let now = Instant::now();
    let mut put = |of: &str, topics: &[&str]| {
        members.edit(&user(of), TopicEdit::Replace(names(topics)), EditBy::Backend, Position(1), now)
    };
    assert_eq!(put("a", &["1", "2", "3"]).unwrap_err(), BadEdit::TooManyTopics { max: 2 });
    put("a", &["1", "2"]).unwrap();
    put("b", &["1"]).unwrap();
    assert_eq!(put("b", &["1", "2"]).unwrap_err(), BadEdit::Full { max: 3 });
    assert_eq!(put("c", &["1"]).unwrap_err(), BadEdit::Full { max: 3 });
    put("a", &["3"]).unwrap();
    put("c", &["1"]).unwrap();
    members.bounds = MemberBounds { all: 1, ..MemberBounds::default() };
    members.edit(&user("a"), TopicEdit::Replace(vec![]), EditBy::Backend, Position(1), now).unwrap();
    assert_eq!(members.sets().holders().count(), 2);
}

#[test]
fn patterns_are_bounded_beside_topics_and_can_always_be_taken_away() {
    let bounds = MemberBounds { topics: 5, patterns: 2, all: 9, all_patterns: 3 };
    let mut members = Members { bounds, ..Members::default() };
    let now = Instant::now();
    let put = |members: &mut Members, of: &str, topics: &[&str]| {
        members.edit(&user(of), TopicEdit::Replace(names(topics)), EditBy::Backend, Position(1), now)
    };
    assert_eq!(put(&mut members, "a", &["1*", "2*", "3*"]).unwrap_err(), BadEdit::TooManyPatterns { max: 2 });
    put(&mut members, "a", &["1*", "2*", "3"]).unwrap();
    assert_eq!(put(&mut members, "b", &["1*", "2*"]).unwrap_err(), BadEdit::FullOfPatterns { max: 3 });
    put(&mut members, "b", &["1*", "2", "3"]).unwrap();
    members.bounds = MemberBounds { patterns: 1, all_patterns: 1, ..bounds };
    put(&mut members, "a", &["4*", "2*", "3", "4"]).unwrap();
    put(&mut members, "a", &["3"]).unwrap();
    assert_eq!(put(&mut members, "a", &["1*"]).unwrap_err(), BadEdit::FullOfPatterns { max: 1 });
}

#[test]
fn only_who_lost_a_change_is_told_so() {
    let mut members = Members::default();
    let now = Instant::now();
    for (nth, of) in (1..).zip(["a", "b", "a"]) {
        let edit = TopicEdit::Replace(names(&[["x", "y"][nth as usize % 2]]));
        members.edit(&user(of), edit, EditBy::Backend, Position(nth), now).unwrap();
    }
    assert!(!members.has_lost(&[user("a")], Position(0)));
    members.drop_oldest();
    assert_eq!(members.trimmed(), Position(1));
    assert!(members.has_lost(&[Key::Broadcast, user("a")], Position(0)));
    assert!(!members.has_lost(&[user("a")], Position(1)));
    assert!(!members.has_lost(&[user("b"), Key::Broadcast], Position(0)));
    members.drop_oldest();
    members.drop_oldest();
    assert_eq!((members.len(), members.bytes(), members.index.len()), (0, 0, 0));
    assert_eq!(topics(&members, &user("a")), ["y"], "the sets themselves stay");
}
