//! Requests for vectors as clients send them, and as they should not.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::anything::any_json;

fn with(more: Value) -> Result<Vectors, ApiError> {
    let mut request = json!({ "model": "vectors", "input": "hello" });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    parse(request.as_object().unwrap().clone())
}

fn fault(more: Value) -> String {
    let error = with(more.clone()).expect_err(&more.to_string()).to_json(crate::api::Family::OpenAi);
    error["error"]["param"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn an_input_is_a_text_texts_tokens_or_lists_of_tokens() {
    let text = |text: &str| EmbedInput::Text(text.to_owned());
    let inputs = |input: Value| with(json!({ "input": input })).unwrap().request.inputs;
    assert_eq!(inputs(json!("a")), [text("a")]);
    assert_eq!(inputs(json!(["a", "b"])), [text("a"), text("b")]);
    assert_eq!(inputs(json!([1, 2])), [EmbedInput::Tokens(vec![1, 2])]);
    assert_eq!(inputs(json!([[1], [2]])), [EmbedInput::Tokens(vec![1]), EmbedInput::Tokens(vec![2])]);
    for wrong in
        [json!([]), json!(""), json!(["a", ""]), json!([[]]), json!([1, "a"]), json!(5), json!(vec!["a"; 2049])]
    {
        assert_eq!(fault(json!({ "input": wrong })), "input");
    }
}

#[test]
fn the_rest_is_read_or_refused_by_name() {
    let asked = with(json!({ "encoding_format": "base64", "dimensions": 2, "truncate": true, "user": "u" })).unwrap();
    assert_eq!((asked.base64, asked.request.dimensions, asked.request.truncate), (true, Some(2), true));
    for (field, value) in [
        ("encoding_format", json!("int8")),
        ("dimensions", json!(0)),
        ("truncate_prompt_tokens", json!(5)),
        ("dimension", json!(2)),
    ] {
        assert_eq!(fault(json!({ field: value })), field);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_value_of_any_field_is_read_or_refused_without_panic(
        field in prop::sample::select(&["model", "input", "encoding_format", "dimensions", "truncate"][..]),
        value in any_json(),
    ) {
        if let Ok(asked) = with(json!({ field: value })) {
            prop_assert!(!asked.request.inputs.is_empty());
        }
    }
}
