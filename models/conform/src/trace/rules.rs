//! Which rules of the models a kernel release follows.

use models::iommu::iova::IovaRules;
use models::swiotlb::{BounceRules, SearchRules, SizingRules};

/// The rules of one release.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How they are called in a report.
    pub name: &'static str,
    /// Slot search.
    pub search: SearchRules,
    /// Copies.
    pub bounce: BounceRules,
    /// Sizes and areas.
    pub sizing: SizingRules,
    /// Addresses of I/O virtual memory.
    pub iova: IovaRules,
}

impl Rules {
    /// The rules of a release as `uname -r` prints it, such as `6.12.117+deb12-amd64`.
    ///
    /// # Errors
    ///
    /// What is wrong: no release, or one whose rules are not modelled.
    pub fn of_release(release: &str) -> Result<Self, String> {
        let end = release.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(release.len());
        let mut parts = release[..end].split('.').map(str::parse::<u32>);
        match (parts.next(), parts.next()) {
            (Some(Ok(6)), Some(Ok(1))) => Ok(Self::v6_1()),
            (Some(Ok(6)), Some(Ok(12))) => Ok(Self::v6_12()),
            (Some(Ok(major)), Some(Ok(minor))) => {
                Err(format!("Linux {major}.{minor}: its rules for traces are not modelled; 6.1 and 6.12 are"))
            }
            _ => Err(format!("`{release}` is no kernel release; one looks like 6.12.117")),
        }
    }

    /// Linux 6.1 with its stable fixes.
    #[must_use]
    pub const fn v6_1() -> Self {
        Self {
            name: "6.1",
            search: SearchRules::v6_1_192(),
            bounce: BounceRules::v5_18(),
            sizing: SizingRules::v6_1_192(),
            iova: IovaRules::v6_1(),
        }
    }

    /// Linux 6.12.
    #[must_use]
    pub const fn v6_12() -> Self {
        Self {
            name: "6.12",
            search: SearchRules::v6_12(),
            bounce: BounceRules::v6_9_rc4(),
            sizing: SizingRules::v6_5(),
            iova: IovaRules::v6_12(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        assert_eq!(Rules::of_release("6.12.117+deb12-amd64").map(|rules| rules.name), Ok("6.12"));
        assert_eq!(Rules::of_release("6.1.0-56-amd64").map(|rules| rules.name), Ok("6.1"));
        assert!(Rules::of_release("5.15.2").is_err_and(|what| what.contains("5.15")));
        assert!(Rules::of_release("x").is_err());
    }
}
