use super::*;

const NONE: SeatLimits = SeatLimits { streams: 0, per_address: 0, per_user: 0, when_full: WhenFull::Refuse };

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn at(text: &str) -> ClientNetwork {
    ClientNetwork::of(text.parse().unwrap(), 64)
}

/// A seat of `user`'s for the stream of `client`.
fn sit(seats: &Arc<Seats>, user: &str, client: &str) -> Result<(Seat, Vec<Name>), RetryReason> {
    seats.take(at("192.0.2.1")).unwrap().of(Some(&name(user)), &name(client))
}

fn names(texts: &[&str]) -> Vec<Name> {
    texts.iter().map(|text| name(text)).collect()
}

#[test]
fn every_limit_holds_and_a_seat_comes_back() {
    let seats = Seats::new(SeatLimits { streams: 4, per_address: 2, per_user: 1, ..NONE });
    let (user, client) = (name("u"), name("c"));
    let first = seats.take(at("192.0.2.1")).unwrap().of(Some(&user), &client).ok().unwrap();
    assert_eq!(
        seats.take(at("192.0.2.2")).unwrap().of(Some(&user), &client).err(),
        Some(RetryReason::StreamsPerUser)
    );
    let _second = seats.take(at("::ffff:192.0.2.1")).unwrap();
    assert_eq!(seats.take(at("192.0.2.1")).err(), Some(RetryReason::StreamsPerAddress));
    let _third = seats.take(at("2001:db8::1")).unwrap();
    let _fourth = seats.take(at("2001:db8::2")).unwrap();
    drop(first);
    assert_eq!(seats.take(at("2001:db8::3")).err(), Some(RetryReason::StreamsPerAddress));
    let _fifth = seats.take(at("192.0.2.2")).unwrap().of(Some(&user), &client).ok().unwrap();
    assert_eq!(seats.take(at("192.0.2.3")).err(), Some(RetryReason::Streams));
}

#[test]
fn other_limits_hold_for_those_who_come() {
    let seats = Seats::new(NONE);
    let at = |last: u8| ClientNetwork::of([192, 0, 2, last].into(), 64);
    let sitting: Vec<_> = (0..3).map(|last| seats.take(at(last)).ok()).collect();
    seats.limit(SeatLimits { streams: 3, ..NONE });
    assert_eq!(seats.take(at(9)).err(), Some(RetryReason::Streams));
    drop(sitting);
    assert!(seats.take(at(9)).is_ok());
}

#[test]
fn the_oldest_of_a_user_gives_way_and_no_other() {
    let seats = Seats::new(SeatLimits { per_user: 2, when_full: WhenFull::Replace, ..NONE });
    let (first, _) = sit(&seats, "u", "1").ok().unwrap();
    let (second, _) = sit(&seats, "u", "2").ok().unwrap();
    let _other = sit(&seats, "v", "3").ok().unwrap();
    let (third, replaced) = sit(&seats, "u", "4").ok().unwrap();
    assert_eq!(replaced, names(&["1"]));
    let due = |seat: &Seat| seat.gives_way().unwrap().is_due();
    assert!(due(&first) && !due(&second) && !due(&third));
    // Its seat was its user's no more when it came back.
    drop(first);
    assert_eq!(sit(&seats, "u", "5").ok().unwrap().1, names(&["2"]));
    drop(second);
    // One that ends by itself makes room.
    drop(third);
    assert!(sit(&seats, "u", "6").ok().unwrap().1.is_empty());
}

#[test]
fn one_who_has_more_than_a_new_limit_loses_the_oldest_of_them() {
    let seats = Seats::new(SeatLimits { per_user: 9, ..NONE });
    let before = sit(&seats, "u", "before").ok().unwrap();
    seats.limit(SeatLimits { per_user: 4, when_full: WhenFull::Replace, ..NONE });
    let known: Vec<_> = ["1", "2", "3"].iter().map(|client| sit(&seats, "u", client).ok().unwrap()).collect();
    seats.limit(SeatLimits { per_user: 2, when_full: WhenFull::Replace, ..NONE });
    let (last, replaced) = sit(&seats, "u", "4").ok().unwrap();
    assert_eq!(replaced, names(&["1", "2", "3"]));
    drop(known);
    // One that was opened when none had to give way is not known by its age.
    seats.limit(SeatLimits { per_user: 1, when_full: WhenFull::Replace, ..NONE });
    drop(last);
    assert_eq!(sit(&seats, "u", "5").err(), Some(RetryReason::StreamsPerUser));
    drop(before);
    assert!(sit(&seats, "u", "6").is_ok());
}

#[test]
fn nothing_is_left_when_all_are_gone() {
    for when_full in [WhenFull::Refuse, WhenFull::Replace] {
        let seats = Seats::new(SeatLimits { per_user: 5, when_full, ..NONE });
        let at = |n| ClientNetwork::of([10, 0, 0, n].into(), 64);
        let sit = |n: u8| seats.take(at(n)).unwrap().of(Some(&name("u")), &name(&n.to_string())).ok();
        let held: Vec<_> = (0..9).map(sit).collect();
        drop(held);
        let taken = seats.taken.lock();
        assert_eq!((taken.streams, taken.by_address.len(), taken.by_user.len()), (0, 0, 0), "{when_full:?}");
    }
}
