use super::*;
use crate::health::{Health, ReadyFor, State};
use crate::publish::RelayError;
use crate::redis::double::{Double, Peer, TIMING, eventually, nobody, within};

fn start(double: &Double, listening: bool) -> (RedisPublisher, Drain) {
    let drain = Drain::new();
    let listening = Arc::new(AtomicBool::new(listening));
    (
        RedisPublisher::start(
            Arc::new(Endpoint::at(double.address(""))),
            TIMING,
            "sidestream",
            listening,
            Health::new(&[]).depend_on("redis_publish", false),
            &drain,
        ),
        drain,
    )
}

fn message(json: &'static str) -> RelayedEnvelope {
    RelayedEnvelope { json: Bytes::from_static(json.as_bytes()), idempotency_key: None, ephemeral: false }
}

type Outcome = tokio::task::JoinHandle<Result<(), RelayError>>;

fn relay(publisher: &RedisPublisher, drain: &Drain, messages: &[&'static str]) -> Outcome {
    let publisher = publisher.clone();
    let messages = messages.iter().map(|json| message(json)).collect();
    drain.spawn(async move { publisher.relay(messages).await.map(drop) })
}

async fn outcome(relayed: Outcome) -> Result<(), RelayError> {
    within("an outcome", relayed).await.unwrap()
}

async fn expect_messages(peer: &mut Peer, messages: &[&str]) {
    for message in messages {
        assert_eq!(peer.expect("PUBLISH").await, ["PUBLISH", "sidestream", message]);
    }
}

#[tokio::test]
async fn messages_go_out_in_order_and_each_sender_gets_its_own_outcome() {
    let double = Double::start().await;
    let (publisher, drain) = start(&double, true);
    let first = relay(&publisher, &drain, &["a", "b"]);
    let mut peer = double.accept().await;
    peer.welcome_master().await;
    expect_messages(&mut peer, &["a", "b"]).await;
    peer.say(b":1\r\n").await;
    peer.say(b":2\r\n").await;
    assert_eq!(outcome(first).await, Ok(()));

    let no = relay(&publisher, &drain, &["c", "d"]);
    expect_messages(&mut peer, &["c", "d"]).await;
    peer.say(b"-NOPERM no\r\n-NOPERM no\r\n").await;
    let refused = Err(RelayError::Refused("Redis refused to publish: NOPERM no".into()));
    assert_eq!(outcome(no).await, refused, "nothing was published");

    let half = relay(&publisher, &drain, &["e", "f"]);
    expect_messages(&mut peer, &["e", "f"]).await;
    peer.say(b":1\r\n-OOM no\r\n").await;
    assert_eq!(outcome(half).await, Err(RelayError::Unknown));

    let last = relay(&publisher, &drain, &["g"]);
    expect_messages(&mut peer, &["g"]).await;
    peer.say(b":1\r\n").await;
    assert_eq!(outcome(last).await, Ok(()), "a refusal does not cost the connection");
}

#[tokio::test]
async fn without_a_connection_nothing_was_published() {
    let (_socket, address) = nobody();
    let drain = Drain::new();
    let publisher = RedisPublisher::start(
        Arc::new(Endpoint::at(address)),
        TIMING,
        "sidestream",
        Arc::default(),
        Health::new(&[]).depend_on("redis_publish", false),
        &drain,
    );
    assert_eq!(outcome(relay(&publisher, &drain, &["a"])).await, Err(RelayError::Down));

    let silent = Double::start().await;
    let (publisher, drain) = start(&silent, true);
    assert_eq!(outcome(relay(&publisher, &drain, &["a"])).await, Err(RelayError::Down));
}

#[tokio::test]
async fn a_lost_answer_leaves_it_unknown_and_the_next_message_gets_a_new_connection() {
    let double = Double::start().await;
    let (publisher, drain) = start(&double, true);
    let cut = relay(&publisher, &drain, &["a"]);
    let mut peer = double.accept().await;
    peer.welcome_master().await;
    expect_messages(&mut peer, &["a"]).await;
    drop(peer);
    assert_eq!(outcome(cut).await, Err(RelayError::Unknown));

    let silent = relay(&publisher, &drain, &["b"]);
    let mut peer = double.accept().await;
    peer.welcome_master().await;
    expect_messages(&mut peer, &["b"]).await;
    assert_eq!(outcome(silent).await, Err(RelayError::Unknown), "it has fallen silent");

    let well = relay(&publisher, &drain, &["c"]);
    let mut peer = double.accept().await;
    peer.welcome_master().await;
    expect_messages(&mut peer, &["c"]).await;
    peer.say(b":1\r\n").await;
    assert_eq!(outcome(well).await, Ok(()));
}

#[tokio::test]
async fn a_message_that_nobody_heard_was_not_published_while_we_do_not_listen() {
    for (listening, expected) in [(false, Err(RelayError::Down)), (true, Ok(()))] {
        let double = Double::start().await;
        let (publisher, drain) = start(&double, listening);
        let relayed = relay(&publisher, &drain, &["a"]);
        let mut peer = double.accept().await;
        peer.welcome_master().await;
        expect_messages(&mut peer, &["a"]).await;
        peer.say(b":0\r\n").await;
        assert_eq!(outcome(relayed).await, expected);
    }
}

#[tokio::test]
async fn an_idle_connection_is_pinged_and_one_that_died_is_not_used() {
    let double = Double::start().await;
    let (publisher, drain) = start(&double, true);
    let first = relay(&publisher, &drain, &["a"]);
    let mut peer = double.accept().await;
    peer.welcome_master().await;
    expect_messages(&mut peer, &["a"]).await;
    peer.say(b":1\r\n").await;
    assert_eq!(outcome(first).await, Ok(()));
    for _ in 0..2 {
        peer.master().await;
    }
    peer.expect("ROLE").await;
    peer.ended().await;

    let second = relay(&publisher, &drain, &["b"]);
    let mut peer = double.accept().await;
    peer.welcome_master().await;
    expect_messages(&mut peer, &["b"]).await;
    peer.say(b":1\r\n").await;
    assert_eq!(outcome(second).await, Ok(()));
}

#[tokio::test]
async fn what_waits_when_the_stop_comes_was_not_published() {
    let double = Double::start().await;
    let (publisher, drain) = start(&double, true);
    drain.start();
    within("it ends", drain.finished()).await;
    assert_eq!(publisher.relay(vec![message("a")]).await, Err(RelayError::Down));
}

#[tokio::test]
async fn what_a_demoted_master_would_lose_is_not_published_and_the_daemon_is_not_ready() {
    let double = Double::start().await;
    let (health, drain) = (Health::new(&[]), Drain::new());
    let publisher = RedisPublisher::start(
        Arc::new(Endpoint::at(double.address(""))),
        TIMING,
        "sidestream",
        Arc::new(AtomicBool::new(true)),
        health.depend_on("redis_publish", false),
        &drain,
    );
    let mut peer = double.accept().await;
    peer.welcome_master().await;
    eventually("it is up", || health.dependencies(ReadyFor::Events)["redis_publish"].state == State::Up)
        .await;
    peer.expect("ROLE").await;
    peer.replica().await;
    eventually("it is not ready", || !health.is_ready(ReadyFor::Events)).await;
    let State::Down(why) = health.dependencies(ReadyFor::Events)["redis_publish"].state.clone() else {
        panic!("it is up")
    };
    assert!(why.contains("no master") && why.contains("slave"), "{why}");

    let mut relayed = relay(&publisher, &drain, &["a"]);
    let refused = loop {
        tokio::select! {
            outcome = &mut relayed => break outcome.unwrap(),
            mut next = double.accept() => {
                next.welcome().await;
                next.expect("ROLE").await;
                next.replica().await;
            }
        }
    };
    assert!(matches!(&refused, Err(RelayError::Refused(why)) if why.contains("no master")), "{refused:?}");

    let mut master = double.accept().await;
    master.welcome_master().await;
    eventually("it is ready", || health.is_ready(ReadyFor::Events)).await;
    let relayed = relay(&publisher, &drain, &["b"]);
    expect_messages(&mut master, &["b"]).await;
    master.say(b":1\r\n").await;
    assert_eq!(outcome(relayed).await, Ok(()));
}
