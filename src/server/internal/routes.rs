//! What there is on the internal listener: every path and what it takes, once.
//!
//! A path that is not in this list is nowhere. The description in `docs/openapi.json` is held against it by a test.

/// A path's template and its methods.
pub(in crate::server) type Row = (&'static str, &'static str);

/// The one that is asked most.
pub(in crate::server) const PUBLISH: Row = ("/publish", "POST");

/// In a template a segment in braces stands for any text; the last one for all that is left.
pub(in crate::server) const ROUTES: &[Row] = &[
    PUBLISH,
    ("/revoke", "POST"),
    ("/tickets", "POST"),
    ("/healthz", "GET, HEAD"),
    ("/readyz", "GET, HEAD"),
    ("/metrics", "GET, HEAD"),
    ("/openapi.json", "GET, HEAD"),
    ("/position", "GET, HEAD"),
    ("/users/{user}/topics", "GET, HEAD, PUT, POST, PATCH, DELETE"),
    ("/users/{user}/topics/{topic}", "PUT, DELETE"),
    ("/sessions/{session}/topics", "GET, HEAD, PUT, POST, PATCH, DELETE"),
    ("/sessions/{session}/topics/{topic}", "PUT, DELETE"),
    ("/clients/{client}/topics", "GET, HEAD, PUT, POST, PATCH, DELETE"),
    ("/clients/{client}/topics/{topic}", "PUT, DELETE"),
    ("/topics/{topic}/events", "GET, HEAD"),
    ("/connections", "GET, HEAD, DELETE"),
    ("/connections/count", "GET, HEAD"),
    ("/connections/{client}", "GET, HEAD, DELETE"),
    ("/users/{user}/connections", "DELETE"),
    ("/sessions/{session}/connections", "DELETE"),
    ("/presence", "GET, HEAD"),
    ("/presence/users", "GET, HEAD, POST"),
    ("/presence/users/{user}", "GET, HEAD"),
    ("/presence/topics/{topic}", "GET, HEAD"),
];

/// The first row whose template `path` is of, and the texts that its braces stand for, as they stand in the path.
pub(in crate::server) fn find(path: &str) -> Option<(Row, Vec<&str>)> {
    ROUTES.iter().find_map(|row| Some((*row, values(row.0, path)?)))
}

fn values<'a>(template: &str, path: &'a str) -> Option<Vec<&'a str>> {
    let mut values = Vec::new();
    let mut rest = path;
    let mut template = template.strip_prefix('/')?.split('/').peekable();
    while let Some(segment) = template.next() {
        rest = rest.strip_prefix('/')?;
        let is_last = template.peek().is_none();
        let end = if is_last { rest.len() } else { rest.find('/')? };
        let (text, more) = rest.split_at(end);
        if segment.starts_with('{') {
            values.push(text);
        } else if segment != text {
            return None;
        }
        rest = more;
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_path_is_of_the_first_template_that_fits() {
        let found = |path| find(path).map(|((template, _), values)| (template, values));
        assert_eq!(found("/publish"), Some(("/publish", vec![])));
        assert_eq!(found("/connections/count"), Some(("/connections/count", vec![])));
        assert_eq!(found("/connections/a%2Fb"), Some(("/connections/{client}", vec!["a%2Fb"])));
        assert_eq!(found("/users/u/topics"), Some(("/users/{user}/topics", vec!["u"])));
        assert_eq!(found("/users/u/topics/a/b"), Some(("/users/{user}/topics/{topic}", vec!["u", "a/b"])));
        assert_eq!(found("/topics//events"), Some(("/topics/{topic}/events", vec![""])));
        for nowhere in ["", "/", "/publish/", "/users", "/users/u", "/topics/a/b/events", "publish"] {
            assert_eq!(found(nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn the_description_has_every_path_and_method_and_no_other() {
        let description: serde_json::Value =
            serde_json::from_str(crate::server::internal::openapi::TEXT).unwrap();
        let paths = description["paths"].as_object().unwrap();
        let methods = ["get", "put", "post", "patch", "delete"];
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, item)| {
                let methods = methods.iter().filter(|method| item.get(**method).is_some());
                methods.map(move |method| (path.clone(), method.to_uppercase()))
            })
            .collect();
        let known: BTreeSet<(String, String)> = ROUTES
            .iter()
            .flat_map(|(path, methods)| {
                let methods: Vec<&str> = methods.split(", ").collect();
                assert_eq!(methods.contains(&"GET"), methods.contains(&"HEAD"), "{path}");
                methods
                    .into_iter()
                    .filter(|method| *method != "HEAD")
                    .map(|method| (path.to_string(), method.into()))
            })
            .collect();
        assert_eq!(described, known);
        assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
