//! The table that a section is written as: one row a key, from which come the struct's field, how it is read, its
//! default, and its line in `config.example.toml` and `docs/configuration.md`.

/// Defines a section: `field: Type = kind(sample, parser);` for each key, with its sentences as documentation. A key
/// whose name is not the field's is said behind it: `as "ca_file"`. A parser may use the fields above it. The kinds:
///
/// | kind | the field is |
/// |---|---|
/// | `value(default, parser)` | a `T` |
/// | `one_or_more(default, parser)` | a `Vec<T>` that is never empty; one value or an array, whose entries the parser is for |
/// | `list(default, parser)` | a `Vec<T>`; the parser is for one entry |
/// | `list_or_empty(example, parser)` | a `Vec<T>`, empty by default |
/// | `optional(example, parser)` | an `Option<T>` |
/// | `required(example, what to do without it, stand-in, parser)` | a `T` that has no default |
/// | `secret(example, parser)`, `secrets([], parser)` | an `Option<T>`, a `Vec<T>`; there is `<key>_file` too |
/// | `secret_or(example, stand-in, parser)` | a `T`, the stand-in where there is none |
/// | `required_secret(…)`, `required_hidden(…)` | as `required`, in no snippet; the second without `<key>_file` |
/// | `file(example, parser)` | an `Option<T>` made of the content of a file |
/// | `optional_section(name, read)`, `tables(name, read)` | an `Option<T>`, a `Vec<T>` below this section |
/// | `by(read)` | whatever a function of its own reads |
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $vis:vis struct $section:ident without default $($rest:tt)*
    ) => {
        $crate::config::schema::table::section! { @define $(#[doc = $about])* $vis $section $($rest)* }
    };
    (
        $(#[doc = $about:literal])*
        $vis:vis struct $section:ident $($rest:tt)*
    ) => {
        $crate::config::schema::table::section! { @define $(#[doc = $about])* $vis $section $($rest)* }

        impl Default for $section {
            fn default() -> Self {
                Self::defaults()
            }
        }
    };
    (
        @define $(#[doc = $about:literal])* $vis:vis $section:ident $(checked by $check:path)? {
            $(
                $(#[doc = $doc:literal])*
                $field:ident: $type:ty = $kind:ident($($row:tt)*) $(as $key:literal)?;
            )*
        }
    ) => {
        $(#[doc = $about])*
        // The sentences are written for config.example.toml, where an address is no link.
        #[allow(rustdoc::bare_urls, rustdoc::broken_intra_doc_links)]
        #[derive(Clone, PartialEq, Eq, Debug)]
        $vis struct $section {
            $($(#[doc = $doc])* $vis $field: $type,)*
        }

        impl $section {
            pub(in crate::config) fn read(
                s: &mut $crate::config::section_reader::SectionReader<'_, '_>,
            ) -> Self {
                s.describe(concat!($($about, "\n"),*));
                $(
                    let $field: $type = $crate::config::schema::table::section! {
                        @read s,
                        $crate::config::schema::table::section!(@name $field $($key)?),
                        concat!($($doc, "\n"),*),
                        $kind($($row)*)
                    };
                )*
                let section = Self { $($field),* };
                $($check(&section, s);)?
                section
            }

            /// What holds where nothing is said; stand-ins for what has no default.
            #[allow(dead_code, reason = "not every table has a `Default` or a constructor")]
            fn defaults() -> Self {
                $crate::config::reading::defaults(Self::read)
            }
        }
    };

    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $key:literal) => { $key };

    (@read $s:ident, $name:expr, $about:expr, by($read:expr)) => { ($read)($s) };
    (@read $s:ident, $name:expr, $about:expr, optional_section($section:literal, $read:expr)) => {
        $s.optional_section($section, $name, $read)
    };
    (@read $s:ident, $name:expr, $about:expr, tables($section:literal, $read:expr)) => {
        $s.tables($section, $name, $read)
    };
    (@read $s:ident, $name:expr, $about:expr, $kind:ident($sample:tt, $($argument:expr),+ $(,)?)) => {
        $s.$kind($crate::config::schema::table::key!($name, $sample, $about), $($argument),+)
    };
}

/// A key that is read outside of a table.
macro_rules! key {
    ($name:expr, $sample:tt, $about:expr) => {
        $crate::config::key_spec::KeySpec { name: $name, sample: stringify!($sample), about: $about }
    };
}

pub(in crate::config) use {key, section};
