//! The functions: names, arguments, and which of them the service takes in a query.

/// How sure we are that the service takes a function in a query.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// Documented, or used by the official tools.
    Taken,
    /// Its back end has it, and nobody says that a query may not use it.
    Unknown,
    /// Documented for message routing only, or reported as refused.
    Refused,
}

/// What a function accepts: at least and at most so many arguments.
type Arity = (usize, usize);

macro_rules! functions {
    ($($function:ident $name:literal $arity:expr, $evidence:ident;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Function {
            $($function,)*
        }

        impl Function {
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$function,)*];

            /// As queries are printed.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$function => $name,)* }
            }

            pub(crate) const fn arity(self) -> Arity {
                match self { $(Self::$function => $arity,)* }
            }

            /// By any of its names, in any case.
            pub(crate) fn named(name: &str) -> Option<(Self, Evidence)> {
                const NAMES: &[(&str, Function, Evidence)] = &[
                    $(($name, Function::$function, Evidence::$evidence),)*
                    // A query has STARTSWITH, message routing STARTS_WITH; they mean the same.
                    ("STARTS_WITH", Function::StartsWith, Evidence::Refused),
                    ("ENDS_WITH", Function::EndsWith, Evidence::Refused),
                ];
                let known = NAMES.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name));
                known.map(|(_, function, evidence)| (*function, *evidence))
            }

            /// By the name it has in the condition of a route, in any case.
            pub(crate) fn of_routes(name: &str) -> Option<Self> {
                Self::named(name).map(|(function, _)| function).filter(|function| match function {
                    Self::StartsWith | Self::EndsWith => name.contains('_'),
                    // Documented for queries alone.
                    function => *function != Self::ArrayContains,
                })
            }
        }
    };
}

functions! {
    IsDefined "IS_DEFINED" (1, 1), Taken;
    StartsWith "STARTSWITH" (2, 2), Taken;
    EndsWith "ENDSWITH" (2, 2), Taken;
    ArrayContains "ARRAY_CONTAINS" (2, 2), Taken;
    IsBool "IS_BOOL" (1, 1), Unknown;
    IsNumber "IS_NUMBER" (1, 1), Unknown;
    IsString "IS_STRING" (1, 1), Unknown;
    IsNull "IS_NULL" (1, 1), Unknown;
    IsObject "IS_OBJECT" (1, 1), Unknown;
    IsArray "IS_ARRAY" (1, 1), Unknown;
    IsPrimitive "IS_PRIMITIVE" (1, 1), Unknown;
    Lower "LOWER" (1, 1), Unknown;
    Upper "UPPER" (1, 1), Unknown;
    Length "LENGTH" (1, 1), Unknown;
    Substring "SUBSTRING" (2, 3), Unknown;
    IndexOf "INDEX_OF" (2, 2), Unknown;
    Concat "CONCAT" (2, usize::MAX), Unknown;
    Contains "CONTAINS" (2, 2), Refused;
    AsNumber "AS_NUMBER" (1, 1), Refused;
    Abs "ABS" (1, 1), Refused;
    Exp "EXP" (1, 1), Refused;
    Power "POWER" (2, 2), Refused;
    Square "SQUARE" (1, 1), Refused;
    Ceiling "CEILING" (1, 1), Refused;
    Floor "FLOOR" (1, 1), Refused;
    Sign "SIGN" (1, 1), Refused;
    Sqrt "SQRT" (1, 1), Refused;
}
