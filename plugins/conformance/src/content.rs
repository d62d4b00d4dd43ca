//! Tools that answer with each kind of content block (scenarios `tools-call-*`).

use tidegate_plugin_sdk::{Content, Context, Failure, Hints, NoInput, Tool};

/// A picture of one red pixel.
const PNG: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, // signature
    0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x02, 0x00, 0x00, 0x00,
    0x90, 0x77, 0x53, 0xde, // IHDR
    0x00, 0x00, 0x00, 0x0c, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9c, 0x63, 0xf8, 0xcf, 0xc0, 0x00, 0x00, 0x03, 0x01, 0x01, 0x00, 0xc9,
    0xfe, 0x92, 0xef, // IDAT
    0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82, // IEND
];

/// A sound of four silent samples: 8 kHz, mono, 8 bits.
const WAV: &[u8] =
    b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\x04\0\0\0\x80\x80\x80\x80";

pub(crate) struct TestSimpleText;

impl Tool for TestSimpleText {
    const NAME: &'static str = "test_simple_text";
    const DESCRIPTION: &'static str = "Answers with a text.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, _: &Context) -> Result<Content, Failure> {
        Ok(Content::new().text("This is a simple text response for testing."))
    }
}

pub(crate) struct TestImageContent;

impl Tool for TestImageContent {
    const NAME: &'static str = "test_image_content";
    const DESCRIPTION: &'static str = "Answers with a picture.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, _: &Context) -> Result<Content, Failure> {
        Ok(Content::new().image("image/png", PNG))
    }
}

pub(crate) struct TestAudioContent;

impl Tool for TestAudioContent {
    const NAME: &'static str = "test_audio_content";
    const DESCRIPTION: &'static str = "Answers with a sound.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, _: &Context) -> Result<Content, Failure> {
        Ok(Content::new().audio("audio/wav", WAV))
    }
}

pub(crate) struct TestEmbeddedResource;

impl Tool for TestEmbeddedResource {
    const NAME: &'static str = "test_embedded_resource";
    const DESCRIPTION: &'static str = "Answers with an embedded resource.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, _: &Context) -> Result<Content, Failure> {
        let text = "This is an embedded resource content.";
        Ok(Content::new().resource_text("test://embedded-resource", "text/plain", text))
    }
}

pub(crate) struct TestMultipleContentTypes;

impl Tool for TestMultipleContentTypes {
    const NAME: &'static str = "test_multiple_content_types";
    const DESCRIPTION: &'static str = "Answers with a text, a picture and an embedded resource.";
    const HINTS: Hints = Hints::READ_ONLY;
    type Input = NoInput;
    type Output = Content;

    fn call(_: NoInput, _: &Context) -> Result<Content, Failure> {
        let json = r#"{"test":"data","value":123}"#;
        Ok(Content::new().text("Multiple content types test:").image("image/png", PNG).resource_text(
            "test://mixed-content-resource",
            "application/json",
            json,
        ))
    }
}
