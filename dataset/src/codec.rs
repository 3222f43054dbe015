//! Between Cap'n Proto messages and plain types: the parts that header and chunks share.
//!
//! Owns field-by-field translation; must never decide what a dataset means.

use capnp::{Error, primitive_list, struct_list};
use como_capnp::dataset_capnp as schema;
use como_policies::Window;

use crate::{ColumnKind, Gap, Sampled};

pub(crate) fn text(from: capnp::text::Reader<'_>) -> Result<String, Error> {
    Ok(from.to_str()?.to_owned())
}

pub(crate) fn build_window(mut to: schema::window::Builder<'_>, window: &Window) {
    to.set_from_ns(window.from_ns);
    to.set_to_ns(window.to_ns);
}

pub(crate) fn window(from: schema::window::Reader<'_>) -> Result<Window, Error> {
    Window::new(from.get_from_ns(), from.get_to_ns()).map_err(|e| Error::failed(e.to_string()))
}

pub(crate) fn build_windows(mut to: struct_list::Builder<'_, schema::window::Owned>, windows: &[Window]) {
    for (i, window) in windows.iter().enumerate() {
        build_window(to.reborrow().get(i as u32), window);
    }
}

pub(crate) fn windows(from: struct_list::Reader<'_, schema::window::Owned>) -> Result<Vec<Window>, Error> {
    from.iter().map(window).collect()
}

pub(crate) fn build_gaps(mut to: struct_list::Builder<'_, schema::gap::Owned>, gaps: &[Gap]) {
    for (i, gap) in gaps.iter().enumerate() {
        let mut to = to.reborrow().get(i as u32);
        to.set_from_ns(gap.from_ns);
        to.set_to_ns(gap.to_ns);
        to.set_cause(gap.cause.as_str());
        to.set_counted(gap.count.is_some());
        to.set_count(gap.count.unwrap_or(0));
    }
}

pub(crate) fn gaps(from: struct_list::Reader<'_, schema::gap::Owned>) -> Result<Vec<Gap>, Error> {
    from.iter()
        .map(|gap| {
            Ok(Gap {
                from_ns: gap.get_from_ns(),
                to_ns: gap.get_to_ns(),
                cause: text(gap.get_cause()?)?,
                count: gap.get_counted().then(|| gap.get_count()),
            })
        })
        .collect()
}

pub(crate) fn build_sampled(mut to: struct_list::Builder<'_, schema::sampled::Owned>, sampled: &[Sampled]) {
    for (i, stretch) in sampled.iter().enumerate() {
        let mut to = to.reborrow().get(i as u32);
        to.set_one_in(stretch.one_in);
        build_window(to.init_window(), &stretch.window);
    }
}

pub(crate) fn sampled(from: struct_list::Reader<'_, schema::sampled::Owned>) -> Result<Vec<Sampled>, Error> {
    from.iter()
        .map(|stretch| {
            Ok(Sampled {
                window: window(stretch.get_window()?)?,
                one_in: stretch.get_one_in(),
            })
        })
        .collect()
}

/// One line per kind, both ways.
macro_rules! kinds {
    ($($kind:ident),*) => {
        pub(crate) fn kind_to_schema(kind: ColumnKind) -> schema::ColumnKind {
            match kind { $(ColumnKind::$kind => schema::ColumnKind::$kind),* }
        }
        pub(crate) fn kind_from_schema(kind: schema::ColumnKind) -> ColumnKind {
            match kind { $(schema::ColumnKind::$kind => ColumnKind::$kind),* }
        }
    };
}
kinds!(U8, U16, U32, U64, I64, F64, Bool, Address, Bytes, Text, TimeNs);

/// Copies a list out of a message in one piece.
pub(crate) fn list<T: capnp::private::layout::PrimitiveElement + capnp::introspect::Introspect + Copy>(
    from: primitive_list::Reader<'_, T>,
) -> Result<Vec<T>, Error> {
    // `None`: the message holds a list of another element size, which version 1 never writes.
    from.as_slice()
        .map(<[T]>::to_vec)
        .ok_or_else(|| Error::failed("a list of another element size".into()))
}

/// Copies a column into a message in one piece.
pub(crate) fn fill<T: capnp::private::layout::PrimitiveElement + capnp::introspect::Introspect + Copy>(
    mut to: primitive_list::Builder<'_, T>,
    values: &[T],
) {
    to.as_slice()
        .expect("a list that was just made has its own element size")
        .copy_from_slice(values);
}
