//! Requests of strangers that are made to cost: what each may cost is bounded by its own length.

use std::fmt::Write as _;
use std::time::Duration;

use crate::harness::{Daemon, request};

/// The processor time that the daemon has used so far (proc(5), fields 14 and 15 of `/proc/<pid>/stat`).
fn processor_time(daemon: &Daemon) -> Duration {
    const TICKS_A_SECOND: u64 = 100;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).expect("its statistics");
    let after_name = stat.rsplit_once(") ").expect("a name in brackets").1;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 1000 / TICKS_A_SECOND)
}

/// A query of `count` values for each of `names`: the same value each time, or another one.
fn query(names: &[&str], count: usize, different: bool) -> String {
    let mut query = String::new();
    for n in 0..count {
        for name in names {
            let value = if different { n } else { 1 };
            let _ = write!(query, "{name}={value}&");
        }
    }
    query
}

#[tokio::test]
async fn values_of_a_query_that_multiply_cost_what_their_bytes_cost() {
    let daemon = Daemon::start(
        r#"
        [public]
        max_head = "60KiB"
        [[stream]]
        path = "/three"
        auth = "none"
        topics = ["{query.a}:{query.b}:{query.c}"]
        [[stream]]
        path = "/user"
        auth = "none"
        user = "{query.a}:{query.b}:{query.c}"
        topics = ["t"]
        [limits]
        topics_per_stream = 0
        "#,
    )
    .await;
    let (many, same) = (query(&["a", "b", "c"], 1_500, true), query(&["a", "b", "c"], 2_500, false));
    // The dearest honest requests of this length.
    let honest = query(&["x", "y", "z"], 1_500, true) + "a=1&b=2&c=3";
    let before = processor_time(&daemon);
    for _ in 0..20 {
        assert_eq!(daemon.stream(&format!("/three?{honest}")).await.status(), 200);
    }
    let honest = processor_time(&daemon) - before;
    let before = processor_time(&daemon);
    for _ in 0..10 {
        assert_eq!(request(daemon.public, "GET", &format!("/three?{many}"), &[], b"").await.status, 400);
        assert_eq!(request(daemon.public, "GET", &format!("/user?{many}"), &[], b"").await.status, 400);
        assert_eq!(daemon.stream(&format!("/three?{same}")).await.status(), 200);
    }
    let hostile = processor_time(&daemon) - before;
    assert!(hostile <= honest * 5 + Duration::from_millis(200), "{hostile:?}, honest ones {honest:?}");
    assert_eq!(daemon.ask("/healthz").await.status, 200);
}
