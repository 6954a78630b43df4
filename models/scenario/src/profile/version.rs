//! The kernel versions that a profile may start from.

use std::fmt;

macro_rules! versions {
    ($($variant:ident $name:literal $supported:literal,)*) => {
        /// A kernel version. The order is that of the releases; `next-2021-06` stands behind the release that it
        /// is based on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Version {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Version {
            /// All of them, oldest first.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in a scenario.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether the models hold everything that this version does. Others are declared so that a behaviour
            /// can say since when it exists, and cannot be run.
            #[must_use]
            pub const fn supported(self) -> bool {
                match self { $(Self::$variant => $supported,)* }
            }
        }
    };
}

versions! {
    V5_10 "5.10" false,
    V5_11 "5.11" false,
    V5_12 "5.12" false,
    V5_13 "5.13" true,
    Next2021_06 "next-2021-06" true,
    V5_14 "5.14" true,
    V5_15 "5.15" true,
    V5_16 "5.16" false,
    V5_17 "5.17" false,
    V5_18 "5.18" false,
    V5_19 "5.19" false,
    V6_0 "6.0" false,
    V6_1 "6.1" true,
    V6_2 "6.2" false,
    V6_3 "6.3" false,
    V6_4 "6.4" false,
    V6_5 "6.5" false,
    V6_6 "6.6" false,
    V6_7 "6.7" false,
    V6_8 "6.8" false,
    V6_9 "6.9" false,
    V6_10 "6.10" false,
    V6_11 "6.11" false,
    V6_12 "6.12" true,
}

impl Version {
    /// The version of this name; a leading `v` is allowed.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let bare = name.strip_prefix('v').unwrap_or(name);
        Self::ALL.iter().copied().find(|v| v.name() == bare)
    }

    /// The release on which a development tree is based; a release is based on itself.
    #[must_use]
    pub const fn base(self) -> Self {
        match self {
            Self::Next2021_06 => Self::V5_13,
            other => other,
        }
    }

    /// Names of the versions that can be run.
    pub fn supported_names() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().filter(|v| v.supported()).map(|v| v.name())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
