//! Which traces are recorded: OpenTelemetry's own samplers, by the names of `OTEL_TRACES_SAMPLER`.

use crate::trace::TraceContext;

/// See above.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Sampler {
    /// What the caller has decided counts, where there is one.
    pub(super) heeds_parent: bool,
    /// Of the others so many, from 0 to 1.
    pub(super) ratio: f64,
}

impl Sampler {
    pub(super) fn parse(name: &str, argument: Option<&str>) -> Option<Self> {
        let (heeds_parent, name) = match name.strip_prefix("parentbased_") {
            Some(rest) => (true, rest),
            None => (false, name),
        };
        let ratio = match name {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => argument.map_or(Some(1.0), |text| text.trim().parse().ok())?,
            _ => return None,
        };
        (0.0..=1.0).contains(&ratio).then_some(Self { heeds_parent, ratio })
    }

    /// Whether a trace that begins here is recorded.
    pub(super) fn takes(self, root: TraceContext) -> bool {
        // As the collectors' own libraries reckon it, so that all who see a trace decide alike.
        let bound = (self.ratio * (1_u64 << 63) as f64) as u64;
        root.random_part() >> 1 < bound
    }

    /// Whether a span below `parent` is recorded.
    pub(super) fn follows(self, parent: TraceContext) -> bool {
        if self.heeds_parent { parent.is_sampled() } else { self.takes(parent) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers_have_the_names_of_the_specification() {
        for (name, argument, sampler) in [
            ("always_on", None, Some((false, 1.0))),
            ("always_off", None, Some((false, 0.0))),
            ("traceidratio", Some("0.25"), Some((false, 0.25))),
            ("traceidratio", None, Some((false, 1.0))),
            ("parentbased_always_on", None, Some((true, 1.0))),
            ("parentbased_always_off", None, Some((true, 0.0))),
            ("parentbased_traceidratio", Some("0.5"), Some((true, 0.5))),
            ("traceidratio", Some("1.5"), None),
            ("traceidratio", Some("x"), None),
            ("jaeger_remote", None, None),
        ] {
            let found = Sampler::parse(name, argument).map(|found| (found.heeds_parent, found.ratio));
            assert_eq!(found, sampler, "{name}");
        }
    }

    #[test]
    fn a_ratio_takes_its_share_and_decides_alike_for_one_trace() {
        let half = Sampler { heeds_parent: false, ratio: 0.5 };
        let roots: Vec<TraceContext> = (0..2000).map(|_| TraceContext::root(false).unwrap()).collect();
        let taken = roots.iter().filter(|root| half.takes(**root)).count();
        assert!((800..1200).contains(&taken), "{taken}");
        assert!(roots.iter().all(|root| half.takes(*root) == half.follows(root.child().unwrap())));
        let all = Sampler { heeds_parent: true, ratio: 1.0 };
        assert!(roots.iter().all(|root| all.takes(*root) && !all.follows(*root)));
        assert!(!Sampler { heeds_parent: true, ratio: 0.0 }.takes(roots[0]));
    }
}
