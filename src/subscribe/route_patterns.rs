//! Which of the topics that a request names are patterns.

use crate::event::{Name, Template, TopicFilter};
use crate::subscribe::refusal::{BadStreamRequest, TemplateError};
use crate::subscribe::route::Route;

impl Route<'_> {
    /// What is asked for by `name`, in which so many `*` are a claim's own: these stand for themselves, as nobody meant
    /// a pattern who has a `*` in their name.
    pub(super) fn filter(
        &self,
        template: &Template,
        name: Name,
        literal_stars: usize,
    ) -> Result<TopicFilter, TemplateError> {
        let stars = name.as_str().matches('*').count();
        if !self.has_patterns() || stars == literal_stars {
            return Ok(TopicFilter::Topic(name));
        }
        let named = || template.as_str().to_owned();
        if literal_stars > 0 {
            return Err(BadStreamRequest::MixedStars(named()).into());
        }
        TopicFilter::parse_pattern(name.as_str())
            .map_err(|why| BadStreamRequest::BadPattern { name: named(), why }.into())
    }
}
