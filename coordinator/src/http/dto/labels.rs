//! How requests give labels.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ObjectBuilder, RefOr, Schema,
        schema::{AdditionalProperties, Type},
    },
};

/// The schema of labels that somebody chooses, as
/// [`check_labels`](crate::model::check_labels) demands them.
#[derive(Debug)]
pub enum Labels {}

impl PartialSchema for Labels {
    fn schema() -> RefOr<Schema> {
        let text = |pattern: &str| {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .pattern(Some(pattern))
        };
        let value = text(r"^[^\u0000-\u001f\u007f-\u009f]*$").max_length(Some(64));
        ObjectBuilder::new()
            .description(Some(
                "Keys like names, values of up to 64 bytes; at most 64 of them",
            ))
            .property_names(Some(text("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")))
            .additional_properties(Some(AdditionalProperties::from(value)))
            .max_properties(Some(64))
            .into()
    }
}

impl ToSchema for Labels {
    fn name() -> Cow<'static, str> {
        "Labels".into()
    }
}
