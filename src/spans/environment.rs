//! Where spans go, as OpenTelemetry's variables of the environment say it:
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>.
//!
//! A value that cannot be used is an error, and names its variable; no error holds a value, which may be a secret.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{Scheme, Uri};
use percent_encoding::percent_decode_str;

use crate::spans::encode::Resource;
use crate::spans::queue::QueueBounds;
use crate::spans::sampler::Sampler;

/// See above.
#[derive(Debug)]
pub struct CollectorSettings {
    pub(super) endpoint: Uri,
    pub(super) headers: HeaderMap,
    /// For one request.
    pub(super) timeout: Duration,
    /// PEM texts: whom to trust, and who we are.
    pub(super) authorities: Option<Vec<u8>>,
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
    pub(super) sampler: Sampler,
    pub(super) queue: QueueBounds,
    /// How long a span waits for others.
    pub(super) every: Duration,
    pub(super) resource: Resource,
}

/// Why no spans can be sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the variable {variable} {problem}")]
pub struct BadCollector {
    pub(super) variable: String,
    pub(super) problem: String,
}

/// A variable by its name; an empty one counts as not set.
struct Variables<F>(F);

impl CollectorSettings {
    /// None where nobody is named to send to, or sending is switched off.
    pub fn of_environment() -> Result<Option<Self>, BadCollector> {
        Self::of(|name| std::env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, BadCollector> {
        let variables = Variables(variable);
        let is_off = variables.get("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let exporter = variables.get("OTEL_TRACES_EXPORTER");
        match exporter.as_deref() {
            _ if is_off => return Ok(None),
            Some("none") => return Ok(None),
            Some("otlp") | None => {}
            Some(_) => return Err(bad("OTEL_TRACES_EXPORTER", "must be `otlp` or `none`")),
        }
        let Some(endpoint) = variables.endpoint(exporter.is_some())? else { return Ok(None) };
        if variables.of_traces("PROTOCOL").is_some_and(|(_, text)| text == "grpc") {
            return Err(bad(
                "OTEL_EXPORTER_OTLP_PROTOCOL",
                "names gRPC, and only OTLP over HTTP is spoken (http/json)",
            ));
        }
        let batch = variables.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?.clamp(1, 10_000);
        let waiting = variables.number("OTEL_BSP_MAX_QUEUE_SIZE", 2048)?.clamp(batch, 1_000_000);
        Ok(Some(Self {
            endpoint,
            headers: variables.headers()?,
            timeout: Duration::from_millis(variables.traces_number("TIMEOUT", 10_000)?.clamp(100, 600_000)),
            authorities: variables.file("CERTIFICATE")?,
            identity: variables.file("CLIENT_CERTIFICATE")?.zip(variables.file("CLIENT_KEY")?),
            sampler: variables.sampler()?,
            queue: QueueBounds { waiting: waiting as usize, batch: batch as usize },
            every: Duration::from_millis(
                variables.number("OTEL_BSP_SCHEDULE_DELAY", 5000)?.clamp(10, 600_000),
            ),
            resource: variables.resource()?,
        }))
    }
}

impl<F: Fn(&str) -> Option<String>> Variables<F> {
    fn get(&self, name: &str) -> Option<String> {
        self.0(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// A variable that there is for traces alone, and for all signals.
    fn of_traces(&self, name: &str) -> Option<(String, String)> {
        [format!("OTEL_EXPORTER_OTLP_TRACES_{name}"), format!("OTEL_EXPORTER_OTLP_{name}")]
            .into_iter()
            .find_map(|variable| self.get(&variable).map(|text| (variable, text)))
    }

    fn number(&self, name: &str, default: u64) -> Result<u64, BadCollector> {
        match self.get(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| bad(name, "must be a whole number")),
        }
    }

    fn traces_number(&self, name: &str, default: u64) -> Result<u64, BadCollector> {
        match self.of_traces(name) {
            None => Ok(default),
            Some((variable, text)) => text.parse().map_err(|_| bad(&variable, "must be a whole number")),
        }
    }

    /// Where spans are sent to; the usual place when it is only said that they are.
    fn endpoint(&self, is_wanted: bool) -> Result<Option<Uri>, BadCollector> {
        const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let (variable, text) = match (self.get(TRACES), self.get(ALL)) {
            (Some(text), _) => (TRACES, text),
            (None, Some(text)) => (ALL, format!("{}/v1/traces", text.trim_end_matches('/'))),
            (None, None) if is_wanted => (ALL, "http://localhost:4318/v1/traces".to_owned()),
            (None, None) => return Ok(None),
        };
        let uri: Uri = text.parse().map_err(|_| bad(variable, "must be an http or https URL"))?;
        let is_http = [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&uri.scheme());
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if !is_http || authority.is_empty() {
            return Err(bad(variable, "must be an http or https URL"));
        }
        if authority.contains('@') {
            return Err(bad(variable, "holds a user or a password: use OTEL_EXPORTER_OTLP_HEADERS"));
        }
        Ok(Some(uri))
    }

    fn headers(&self) -> Result<HeaderMap, BadCollector> {
        let mut headers = HeaderMap::new();
        let Some((variable, text)) = self.of_traces("HEADERS") else { return Ok(headers) };
        for (name, value) in
            pairs(&text).ok_or_else(|| bad(&variable, "must be name=value, with commas between"))?
        {
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| bad(&variable, "holds a name that is no header's"))?;
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| bad(&variable, "holds a value that is no header's"))?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        Ok(headers)
    }

    fn file(&self, name: &str) -> Result<Option<Vec<u8>>, BadCollector> {
        let Some((variable, path)) = self.of_traces(name) else { return Ok(None) };
        std::fs::read(path)
            .map(Some)
            .map_err(|error| bad(&variable, &format!("names a file that cannot be read: {error}")))
    }

    fn sampler(&self) -> Result<Sampler, BadCollector> {
        const VARIABLE: &str = "OTEL_TRACES_SAMPLER";
        let name = self.get(VARIABLE).unwrap_or_else(|| "parentbased_always_on".to_owned());
        let argument = self.get("OTEL_TRACES_SAMPLER_ARG");
        Sampler::parse(&name, argument.as_deref()).ok_or_else(|| {
            bad(
                VARIABLE,
                "must be always_on, always_off or traceidratio, with or without parentbased_ before it, and \
                           OTEL_TRACES_SAMPLER_ARG a ratio from 0 to 1",
            )
        })
    }

    fn resource(&self) -> Result<Resource, BadCollector> {
        const VARIABLE: &str = "OTEL_RESOURCE_ATTRIBUTES";
        let given = self.get(VARIABLE).unwrap_or_default();
        let mut resource =
            pairs(&given).ok_or_else(|| bad(VARIABLE, "must be name=value, with commas between"))?;
        if let Some(name) = self.get("OTEL_SERVICE_NAME") {
            resource.retain(|(known, _)| known != "service.name");
            resource.push(("service.name".to_owned(), name));
        }
        for (name, text) in [
            ("service.name", "sidestream"),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("telemetry.sdk.name", "sidestream"),
            ("telemetry.sdk.language", "rust"),
            ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        ] {
            if !resource.iter().any(|(known, _)| known == name) {
                resource.push((name.to_owned(), text.to_owned()));
            }
        }
        Ok(resource)
    }
}

fn bad(variable: &str, problem: &str) -> BadCollector {
    BadCollector { variable: variable.to_owned(), problem: problem.to_owned() }
}

/// `name=value,name=value`, percent-encoded as in the header `baggage`.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let (name, value) = part.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        (!name.trim().is_empty()).then(|| (name.trim().to_owned(), value.into_owned()))
    };
    parts.map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<CollectorSettings>, BadCollector> {
        CollectorSettings::of(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned())
        })
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");

    #[test]
    fn nothing_is_sent_where_nobody_is_named() {
        for variables in [
            &[][..],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            &[("OTEL_SERVICE_NAME", "x")],
            &[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")],
            &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert!(read(variables).unwrap().is_none(), "{variables:?}");
        }
    }

    #[test]
    fn what_is_not_said_has_the_defaults_of_the_specification() {
        let settings = read(&[ENDPOINT]).unwrap().unwrap();
        assert_eq!(settings.endpoint, "http://collector:4318/v1/traces");
        assert_eq!((settings.timeout, settings.every), (Duration::from_secs(10), Duration::from_secs(5)));
        assert_eq!(settings.queue, QueueBounds { waiting: 2048, batch: 512 });
        assert_eq!(settings.sampler, Sampler { heeds_parent: true, ratio: 1.0 });
        assert!(settings.resource.contains(&("service.name".to_owned(), "sidestream".to_owned())));
        let usual = read(&[("OTEL_TRACES_EXPORTER", "otlp")]).unwrap().unwrap();
        assert_eq!(usual.endpoint, "http://localhost:4318/v1/traces");
    }

    #[test]
    fn what_is_said_for_traces_goes_before_what_is_said_for_all() {
        let settings = read(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces.example/as/it/stands"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key=s%20ecret, x=y"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=old,deployment.environment=test%2C1"),
            ("OTEL_SERVICE_NAME", "new"),
        ]);
        let settings = settings.unwrap().unwrap();
        assert_eq!(settings.endpoint, "https://traces.example/as/it/stands");
        assert_eq!((settings.headers["api-key"].as_bytes(), settings.headers.len()), (&b"s ecret"[..], 2));
        assert!(!format!("{settings:?}").contains("ecret"));
        assert_eq!(settings.timeout, Duration::from_millis(250));
        let of = |name: &str| {
            settings.resource.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
        };
        assert_eq!((of("service.name"), of("deployment.environment")), (Some("new"), Some("test,1")));
    }

    #[test]
    fn a_value_that_cannot_be_used_is_named_by_its_variable() {
        for (variable, value) in [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://collector/"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://user:s3cret@collector/"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "s3cret"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_TRACES_SAMPLER", "s3cret"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
            ("OTEL_RESOURCE_ATTRIBUTES", "s3cret"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "nowhere/ca.pem"),
        ] {
            let bad = read(&[ENDPOINT, (variable, value)]).unwrap_err();
            assert_eq!(bad.variable, variable);
            assert!(!bad.to_string().contains("s3cret"), "{bad}");
        }
    }
}
