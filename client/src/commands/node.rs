//! `como status` and `como catalog`: what a node does and has.

use super::Context;
use crate::error::Result;
use crate::render;

pub fn status(context: &Context) -> Result<()> {
    let status = context.client()?.0.status()?;
    context.output.result(&status, &render::json(&status));
    Ok(())
}

pub fn catalog(context: &Context) -> Result<()> {
    let catalog = context.client()?.0.catalog()?;
    let value = serde_json::to_value(&catalog).expect("it came as JSON");
    let mut text = match catalog.coverage {
        Some(coverage) => format!("trace: {}\n", render::window(coverage.from_ns, coverage.to_ns)),
        None => "trace: empty\n".into(),
    };
    text.push_str(&render::json(&catalog.rest.into()));
    context.output.result(&value, &text);
    Ok(())
}
