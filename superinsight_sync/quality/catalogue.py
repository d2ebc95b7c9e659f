"""The Great Expectations types that run on a pandas batch, for checking declarations without it.

A test compares the list with the installed library.
"""

# type: (class, arguments it needs, arguments it may have)
GX_TYPES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "expect_column_distinct_values_to_be_in_set": (
        "ExpectColumnDistinctValuesToBeInSet",
        ("column", "value_set"),
        ("row_condition",),
    ),
    "expect_column_distinct_values_to_contain_set": (
        "ExpectColumnDistinctValuesToContainSet",
        ("column", "value_set"),
        ("row_condition",),
    ),
    "expect_column_distinct_values_to_equal_set": (
        "ExpectColumnDistinctValuesToEqualSet",
        ("column", "value_set"),
        ("row_condition",),
    ),
    "expect_column_kl_divergence_to_be_less_than": (
        "ExpectColumnKLDivergenceToBeLessThan",
        ("column",),
        (
            "bucketize_data",
            "internal_weight_holdout",
            "max_value",
            "min_value",
            "partition_object",
            "row_condition",
            "tail_weight_holdout",
            "threshold",
        ),
    ),
    "expect_column_max_to_be_between": (
        "ExpectColumnMaxToBeBetween",
        ("column",),
        ("max_value", "min_value", "row_condition", "strict_max", "strict_min"),
    ),
    "expect_column_mean_to_be_between": (
        "ExpectColumnMeanToBeBetween",
        ("column",),
        ("max_value", "min_value", "row_condition", "strict_max", "strict_min"),
    ),
    "expect_column_median_to_be_between": (
        "ExpectColumnMedianToBeBetween",
        ("column",),
        ("max_value", "min_value", "row_condition", "strict_max", "strict_min"),
    ),
    "expect_column_min_to_be_between": (
        "ExpectColumnMinToBeBetween",
        ("column",),
        ("max_value", "min_value", "row_condition", "strict_max", "strict_min"),
    ),
    "expect_column_most_common_value_to_be_in_set": (
        "ExpectColumnMostCommonValueToBeInSet",
        ("column", "value_set"),
        ("row_condition", "ties_okay"),
    ),
    "expect_column_pair_values_a_to_be_greater_than_b": (
        "ExpectColumnPairValuesAToBeGreaterThanB",
        ("column_A", "column_B"),
        ("ignore_row_if", "mostly", "or_equal", "row_condition"),
    ),
    "expect_column_pair_values_to_be_equal": (
        "ExpectColumnPairValuesToBeEqual",
        ("column_A", "column_B"),
        ("ignore_row_if", "mostly", "row_condition"),
    ),
    "expect_column_pair_values_to_be_in_set": (
        "ExpectColumnPairValuesToBeInSet",
        ("column_A", "column_B", "value_pairs_set"),
        ("ignore_row_if", "mostly", "row_condition"),
    ),
    "expect_column_proportion_of_non_null_values_to_be_between": (
        "ExpectColumnProportionOfNonNullValuesToBeBetween",
        ("column",),
        ("max_value", "min_value", "row_condition", "strict_max", "strict_min"),
    ),
    "expect_column_proportion_of_unique_values_to_be_between": (
        "ExpectColumnProportionOfUniqueValuesToBeBetween",
        ("column",),
        ("max_value", "min_value", "row_condition", "strict_max", "strict_min"),
    ),
    "expect_column_quantile_values_to_be_between": (
        "ExpectColumnQuantileValuesToBeBetween",
        ("column", "quantile_ranges"),
        ("allow_relative_error", "row_condition"),
    ),
    "expect_column_stdev_to_be_between": (
        "ExpectColumnStdevToBeBetween",
        ("column",),
        ("max_value", "min_value", "row_condition", "strict_max", "strict_min"),
    ),
    "expect_column_sum_to_be_between": (
        "ExpectColumnSumToBeBetween",
        ("column",),
        ("max_value", "min_value", "row_condition", "strict_max", "strict_min"),
    ),
    "expect_column_to_exist": ("ExpectColumnToExist", ("column",), ("column_index",)),
    "expect_column_type_to_be": ("ExpectColumnTypeToBe", ("column", "type_"), ()),
    "expect_column_unique_value_count_to_be_between": (
        "ExpectColumnUniqueValueCountToBeBetween",
        ("column",),
        ("max_value", "min_value", "row_condition", "strict_max", "strict_min"),
    ),
    "expect_column_value_lengths_to_be_between": (
        "ExpectColumnValueLengthsToBeBetween",
        ("column",),
        ("max_value", "min_value", "mostly", "row_condition", "strict_max", "strict_min"),
    ),
    "expect_column_value_lengths_to_equal": (
        "ExpectColumnValueLengthsToEqual",
        ("column", "value"),
        ("mostly", "row_condition"),
    ),
    "expect_column_value_z_scores_to_be_less_than": (
        "ExpectColumnValueZScoresToBeLessThan",
        ("column", "threshold", "double_sided"),
        ("mostly", "row_condition"),
    ),
    "expect_column_values_to_be_between": (
        "ExpectColumnValuesToBeBetween",
        ("column",),
        ("max_value", "min_value", "mostly", "row_condition", "strict_max", "strict_min"),
    ),
    "expect_column_values_to_be_dateutil_parseable": (
        "ExpectColumnValuesToBeDateutilParseable",
        ("column",),
        ("mostly", "row_condition"),
    ),
    "expect_column_values_to_be_decreasing": (
        "ExpectColumnValuesToBeDecreasing",
        ("column",),
        ("mostly", "row_condition", "strictly"),
    ),
    "expect_column_values_to_be_in_set": (
        "ExpectColumnValuesToBeInSet",
        ("column", "value_set"),
        ("mostly", "row_condition"),
    ),
    "expect_column_values_to_be_in_type_list": (
        "ExpectColumnValuesToBeInTypeList",
        ("column",),
        ("mostly", "row_condition", "type_list"),
    ),
    "expect_column_values_to_be_increasing": (
        "ExpectColumnValuesToBeIncreasing",
        ("column",),
        ("mostly", "row_condition", "strictly"),
    ),
    "expect_column_values_to_be_json_parseable": (
        "ExpectColumnValuesToBeJsonParseable",
        ("column",),
        ("mostly", "row_condition"),
    ),
    "expect_column_values_to_be_null": (
        "ExpectColumnValuesToBeNull",
        ("column",),
        ("mostly", "row_condition"),
    ),
    "expect_column_values_to_be_of_type": (
        "ExpectColumnValuesToBeOfType",
        ("column", "type_"),
        ("mostly", "row_condition"),
    ),
    "expect_column_values_to_be_unique": (
        "ExpectColumnValuesToBeUnique",
        ("column",),
        ("mostly", "row_condition"),
    ),
    "expect_column_values_to_match_json_schema": (
        "ExpectColumnValuesToMatchJsonSchema",
        ("column", "json_schema"),
        ("mostly", "row_condition"),
    ),
    "expect_column_values_to_match_regex": (
        "ExpectColumnValuesToMatchRegex",
        ("column",),
        ("mostly", "regex", "row_condition"),
    ),
    "expect_column_values_to_match_regex_list": (
        "ExpectColumnValuesToMatchRegexList",
        ("column", "regex_list"),
        ("match_on", "mostly", "row_condition"),
    ),
    "expect_column_values_to_match_strftime_format": (
        "ExpectColumnValuesToMatchStrftimeFormat",
        ("column", "strftime_format"),
        ("mostly", "row_condition"),
    ),
    "expect_column_values_to_not_be_in_set": (
        "ExpectColumnValuesToNotBeInSet",
        ("column", "value_set"),
        ("mostly", "row_condition"),
    ),
    "expect_column_values_to_not_be_null": (
        "ExpectColumnValuesToNotBeNull",
        ("column",),
        ("mostly", "row_condition"),
    ),
    "expect_column_values_to_not_be_outliers": (
        "ExpectColumnValuesToNotBeOutliers",
        ("column",),
        ("method", "mostly", "multiplier", "row_condition"),
    ),
    "expect_column_values_to_not_match_regex": (
        "ExpectColumnValuesToNotMatchRegex",
        ("column", "regex"),
        ("mostly", "row_condition"),
    ),
    "expect_column_values_to_not_match_regex_list": (
        "ExpectColumnValuesToNotMatchRegexList",
        ("column", "regex_list"),
        ("mostly", "row_condition"),
    ),
    "expect_compound_columns_to_be_unique": (
        "ExpectCompoundColumnsToBeUnique",
        ("column_list",),
        ("ignore_row_if", "mostly", "row_condition"),
    ),
    "expect_multicolumn_sum_to_equal": (
        "ExpectMulticolumnSumToEqual",
        ("column_list", "sum_total"),
        ("ignore_row_if", "mostly", "row_condition"),
    ),
    "expect_multicolumn_values_to_be_equal": (
        "ExpectMulticolumnValuesToBeEqual",
        ("column_list",),
        ("ignore_row_if", "mostly", "row_condition"),
    ),
    "expect_select_column_values_to_be_unique_within_record": (
        "ExpectSelectColumnValuesToBeUniqueWithinRecord",
        ("column_list",),
        ("ignore_row_if", "mostly", "row_condition"),
    ),
    "expect_table_column_count_to_be_between": (
        "ExpectTableColumnCountToBeBetween",
        (),
        ("max_value", "min_value"),
    ),
    "expect_table_column_count_to_equal": ("ExpectTableColumnCountToEqual", ("value",), ()),
    "expect_table_columns_to_match_ordered_list": (
        "ExpectTableColumnsToMatchOrderedList",
        (),
        ("column_list",),
    ),
    "expect_table_columns_to_match_set": ("ExpectTableColumnsToMatchSet", (), ("column_set", "exact_match")),
    "expect_table_row_count_to_be_between": (
        "ExpectTableRowCountToBeBetween",
        (),
        ("max_value", "min_value", "row_condition", "strict_max", "strict_min"),
    ),
    "expect_table_row_count_to_equal": ("ExpectTableRowCountToEqual", ("value",), ("row_condition",)),
}
