//! Seeded schedules of publish, subscribe, stall, cut, trim and changes of topics against real shards and real sockets:
//! after each step every reader's stream is a gapless run of what it should have, or says `reset`.

mod world;

use std::io::Read as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::event::{Audience, Event, Key, Name, Pattern};
use crate::fanout::requests::{Selector, Times};
use crate::fanout::schedule_tests::world::{Random, World, any_filter, any_topic, joining, name, topic};
use crate::fanout::{CloseReason, Framing, Join, Sink};
use crate::log::Position;

/// Runs a schedule; how often a reader was reset, and how many were closed because nobody knew their topics any more.
fn run(seed: u64) -> (usize, usize) {
    let mut random = Random(seed);
    let mut world = World::new(60, 1 + seed as usize % 3);
    // Where little is remembered, patterns are looked for again and again.
    world.log.remember_topics([0, 3, 1000][seed as usize / 3 % 3]);
    let deadline = Instant::now() + Duration::from_secs(60);
    for _ in 0..250 {
        match random.below(20) {
            0..=2 => {
                let mut keys: Vec<Key> =
                    (0..random.below(4)).map(|_| any_filter(&mut random).key()).collect();
                keys.push(Key::Broadcast);
                keys.push(Key::User(name("u", random.below(3))));
                keys.push(Key::Session(name("s", random.below(3))));
                world.subscribe(keys, random.below(80));
            }
            3 if !world.readers.is_empty() => {
                let at = random.below(world.readers.len() as u64) as usize;
                world.readers.swap_remove(at);
            }
            19 if random.below(3) == 0 => world.kick(&Key::User(name("u", random.below(3))), deadline),
            4..=5 if !world.readers.is_empty() => {
                let at = random.below(world.readers.len() as u64) as usize;
                let reader = &mut world.readers[at];
                reader.stalled = !reader.stalled;
                reader.may_reset = true;
            }
            6..=8 => {
                for _ in 0..=random.below(3) {
                    world.edit_any(&mut random, deadline);
                    // Several changes and events of one pass.
                    for _ in 0..random.below(3) {
                        world.publish(vec![any_topic(&mut random)], Vec::new(), false, 10);
                    }
                }
            }
            _ => {
                // Now and then enough at once that a stalled reader falls out of the log.
                for _ in 0..=random.below(12) {
                    let broadcast = random.below(10) == 0;
                    let keys = if broadcast {
                        vec![Key::Broadcast]
                    } else {
                        (0..=random.below(2)).map(|_| any_topic(&mut random)).collect()
                    };
                    let except = if random.below(4) == 0 { vec![any_topic(&mut random)] } else { Vec::new() };
                    let ephemeral = random.below(5) == 0;
                    let size = if random.below(6) == 0 { random.below(30_000) } else { random.below(100) };
                    world.publish(keys, except, ephemeral, size as usize);
                }
            }
        }
        world.settle(deadline);
    }
    for reader in &mut world.readers {
        reader.stalled = false;
    }
    world.settle(deadline);
    let resets = world.readers.iter().map(|reader| reader.resets).sum();
    (resets, world.readers.iter().filter(|reader| reader.lagged).count())
}

#[test]
fn every_reader_gets_a_gapless_run_or_a_reset() {
    let (mut resets, mut lagged) = (0, 0);
    for seed in 0..24 {
        eprintln!("seed {seed}");
        let (its_resets, its_lagged) = run(seed);
        resets += its_resets;
        lagged += its_lagged;
    }
    let reached = resets > 10 && lagged > 2;
    assert!(reached, "only {resets} resets, {lagged} lagged: the schedules do not reach what they are for");
}

#[test]
fn a_stalled_reader_costs_its_cursor_and_is_told_what_it_missed() {
    let mut world = World::new(50, 1);
    world.subscribe(vec![topic(1)], 0);
    world.subscribe(vec![topic(1)], 0);
    world.readers[0].stalled = true;
    world.readers[0].may_reset = true;
    let deadline = Instant::now() + Duration::from_secs(30);
    for _ in 0..300 {
        world.publish(vec![topic(1)], Vec::new(), false, 8000);
        world.settle(deadline);
    }
    world.readers[0].stalled = false;
    world.settle(deadline);
    assert_eq!(world.readers[0].resets, 1, "the log holds 50 events; the reader missed more");
    assert_eq!(world.readers[1].resets, 0);
}

#[test]
fn a_frame_larger_than_every_buffer_arrives_byte_for_byte() {
    let mut world = World::new(50, 1);
    world.subscribe(vec![topic(1)], 0);
    let data: String = (0..400_000).map(|n| format!("{n:06}")).collect();
    let mut expected = String::from(": opening\n\n");
    for _ in 0..2 {
        let appended = world.log.append(Event::new(Audience::new([topic(1)], vec![]).unwrap(), data.clone()));
        expected.push_str(&format!("data: {data}\nid: {}\n\n", appended.id.unwrap()));
    }
    let mut socket = &world.readers[0].socket;
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut got = String::new();
    let mut buffer = vec![0; 64 << 10];
    while got.len() < expected.len() {
        assert!(Instant::now() < deadline, "{} of {} bytes", got.len(), expected.len());
        match socket.read(&mut buffer) {
            Ok(read) => got.push_str(str::from_utf8(&buffer[..read]).unwrap()),
            Err(_) => std::thread::yield_now(),
        }
        got = got.replace(": hb\n\n", "");
    }
    assert!(got == expected, "the bytes differ");
}

#[test]
fn subscribers_are_counted_while_they_are_there() {
    let mut world = World::new(50, 2);
    let one = Audience::new([topic(1)], vec![]).unwrap();
    let both = Audience::new([topic(1), topic(2)], vec![topic(3)]).unwrap();
    world.subscribe(vec![topic(1), topic(2)], 0);
    world.subscribe(vec![topic(1), topic(3)], 0);
    world.subscribe(vec![topic(2)], 0);
    let deadline = Instant::now() + Duration::from_secs(10);
    let settles = |world: &World, counts: (usize, usize, usize)| {
        while (world.fanout.reach(&one), world.fanout.reach(&both), world.fanout.open()) != counts {
            assert!(Instant::now() < deadline, "{counts:?}");
            std::thread::yield_now();
        }
    };
    settles(&world, (2, 2, 3));
    world.readers.remove(0);
    settles(&world, (1, 1, 2));
    world.readers.clear();
    settles(&world, (0, 0, 0));
}

#[test]
fn a_stream_ends_at_its_time_with_the_reason() {
    let mut world = World::new(50, 1);
    let client = TcpStream::connect(world.listener.local_addr().unwrap()).unwrap();
    let (server, _) = world.listener.accept().unwrap();
    server.set_nonblocking(true).unwrap();
    world.publish(vec![topic(1)], Vec::new(), false, 0);
    let (seat, dropped) = std::sync::mpsc::sync_channel::<()>(1);
    world.fanout.join(Join {
        cursor: Position(0),
        times: Times { expires: Some(Instant::now() + Duration::from_millis(120)), warns: None },
        seat: Box::new(seat),
        ..joining(Sink::Socket(server, Framing::Chunked), world.log.head().position)
    });
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut text = String::new();
    (&client).read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HEAD"), "{text}");
    let closing =
        text.split("event: closing\ndata: {\"reason\":\"expired\"}\nid: ").nth(1).expect("the reason");
    // The id is that of the last event before it: nothing is sent twice to a client that comes back.
    let event_id = text.split("id: ").nth(1).unwrap().lines().next().unwrap();
    assert!(closing.starts_with(event_id), "{text}");
    assert!(text.ends_with("\r\n0\r\n\r\n"), "{text}");
    assert!(dropped.recv_timeout(Duration::from_secs(10)).is_err(), "the seat is given back");
}

#[test]
fn a_token_ends_only_the_streams_that_came_with_it_and_a_stopped_shard_ends_none() {
    let mut world = World::new(50, 2);
    for _ in 0..4 {
        world.subscribe(vec![topic(1)], 0);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let none = Selector { keys: [].into(), token: Some(Name::parse("jti").unwrap()) };
    assert_eq!(runtime.block_on(world.fanout.end(&none, CloseReason::Revoked)), 0);
    let both = Selector { keys: [topic(1), topic(2)].into(), token: None };
    assert_eq!(
        runtime.block_on(world.fanout.end(&both, CloseReason::Revoked)),
        0,
        "all keys have to be held"
    );
    world.fanout.stop();
    let all = Selector { keys: [topic(1)].into(), token: None };
    assert_eq!(runtime.block_on(world.fanout.end(&all, CloseReason::Revoked)), 0);
}

#[test]
fn a_topic_ends_the_streams_that_hear_it_by_a_pattern_and_counts_them() {
    let mut world = World::new(50, 2);
    let pattern = |text: &str| Key::Pattern(Pattern::parse(text).unwrap());
    world.subscribe(vec![topic(1)], 0);
    world.subscribe(vec![pattern("t1*"), topic(1)], 0);
    world.subscribe(vec![pattern("*1"), Key::User(name("u", 1))], 0);
    world.subscribe(vec![pattern("t2*")], 0);
    let reach = |keys: &[Key], except: &[Key]| {
        world.fanout.reach(&Audience::new(keys.to_vec(), except.to_vec()).unwrap())
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while world.log.pattern_counts().held < 3 || reach(&[topic(1)], &[]) != 3 {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    assert_eq!(reach(&[topic(1), topic(2)], &[]), 4);
    assert_eq!(reach(&[topic(2)], &[topic(1)]), 1);
    assert_eq!(reach(&[topic(1)], &[topic(11)]), 1, "who hears what is excepted by a pattern is excepted");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let end = |keys: &[Key]| {
        let which = Selector { keys: keys.into(), token: None };
        runtime.block_on(world.fanout.end(&which, CloseReason::Revoked))
    };
    assert_eq!(end(&[topic(1), Key::User(name("u", 1))]), 1);
    assert_eq!(end(&[topic(1)]), 2);
    assert_eq!(end(&[topic(2)]), 1);
    assert_eq!(world.log.pattern_counts().held, 0, "nothing is left of the patterns");
}

#[test]
fn a_stream_that_is_closed_right_behind_a_publish_gets_the_event_first() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for round in 0..50 {
        let mut world = World::new(50, 1);
        let client = TcpStream::connect(world.listener.local_addr().unwrap()).unwrap();
        let (server, _) = world.listener.accept().unwrap();
        server.set_nonblocking(true).unwrap();
        let (seat, dropped) = std::sync::mpsc::sync_channel::<()>(1);
        let head = world.log.head().position;
        let sink = Sink::Socket(server, Framing::Chunked);
        world.fanout.join(Join { seat: Box::new(seat), ..joining(sink, head) });
        let all = Selector { keys: [topic(1)].into(), token: None };
        let audience = Audience::new([topic(1)], Vec::new()).unwrap();
        while world.fanout.reach(&audience) == 0 {
            std::thread::yield_now();
        }
        for _ in 0..3 {
            world.publish(vec![topic(1)], Vec::new(), false, 0);
        }
        assert_eq!(runtime.block_on(world.fanout.end(&all, CloseReason::Kicked)), 1);
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut text = String::new();
        (&client).read_to_string(&mut text).unwrap();
        let place = |sought: &str| text.find(sought).unwrap_or_else(|| panic!("{round}: {sought} in {text}"));
        assert!(place("data: 3 ") < place("event: closing"), "{round}: {text}");
        assert!(dropped.recv_timeout(Duration::from_secs(10)).is_err());
    }
}
