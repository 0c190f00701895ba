/* Texts, lists, fields, statuses: the small tools the rest leans on. */
#include "http/text.h"

#include <string.h>

#include "http/field.h"
#include "http/list.h"
#include "http/status.h"
#include "tests/check.h"

static void check_text(void)
{
    CHECK(http_text_equal_nocase(HTTP_TEXT("aB-1"), HTTP_TEXT("Ab-1")));
    CHECK(!http_text_equal_nocase(HTTP_TEXT("a["), HTTP_TEXT("a{"))); /* differ by the bit of case only */
    CHECK(!http_text_equal(HTTP_TEXT("a"), HTTP_TEXT("A")));
    CHECK(!http_text_equal(HTTP_TEXT("a"), HTTP_TEXT("ab")));
    CHECK(http_text_equal((struct http_text){0}, HTTP_TEXT("")));
    CHECK(http_text_equal(http_text_trim(HTTP_TEXT(" \t a b\t")), HTTP_TEXT("a b")));
    CHECK(http_text_trim(HTTP_TEXT(" \t ")).len == 0);

    struct http_text rest = HTTP_TEXT("a,b,");
    CHECK(http_text_equal(http_text_split(&rest, ','), HTTP_TEXT("a")));
    CHECK(http_text_equal(http_text_split(&rest, ','), HTTP_TEXT("b")));
    CHECK(http_text_split(&rest, ',').len == 0 && rest.len == 0);
}

static void check_number(const char *text, bool valid, uint64_t expected)
{
    uint64_t number = 0;
    CHECK(http_text_number(http_text_from(text), &number) == valid);
    CHECK(!valid || number == expected);
}

static void check_numbers(void)
{
    check_number("0", true, 0);
    check_number("0012", true, 12);
    check_number("18446744073709551615", true, UINT64_MAX);
    check_number("18446744073709551616", true, UINT64_MAX);
    check_number("99999999999999999999999999", true, UINT64_MAX);
    check_number("", false, 0);
    check_number("1 ", false, 0);
    check_number("-1", false, 0);
    check_number("1e3", false, 0);
}

/* Every field in any case, and not when any one byte of its name is another. */
static void check_fields(void)
{
    for (int field = 0; field < HTTP_FIELDS; field++) {
        char name[32];
        struct http_text lower = http_field_rows[field].name;
        memcpy(name, lower.data, lower.len);
        CHECK((int)http_field_find(lower) == field);
        for (size_t i = 0; i < lower.len; i++) {
            name[i] = (char)(name[i] >= 'a' ? name[i] - 0x20 : name[i]);
            CHECK((int)http_field_find((struct http_text){name, lower.len}) == field);
            char kept = name[i];
            name[i] = '_';
            CHECK(http_field_find((struct http_text){name, lower.len}) == HTTP_FIELD_OTHER);
            name[i] = kept;
        }
        CHECK(http_field_find((struct http_text){name, lower.len - 1}) == HTTP_FIELD_OTHER);
    }
    CHECK(http_field_find(HTTP_TEXT("")) == HTTP_FIELD_OTHER);
}

static void check_list(void)
{
    struct http_list list = http_list_of(HTTP_TEXT(" ,a, \"b,c\" ;q=\",\",,\td\t,"));
    struct http_text element;
    CHECK(http_list_next(&list, &element) && http_text_equal(element, HTTP_TEXT("a")));
    CHECK(http_list_next(&list, &element) && http_text_equal(element, HTTP_TEXT("\"b,c\" ;q=\",\"")));
    CHECK(http_list_next(&list, &element) && http_text_equal(element, HTTP_TEXT("d")));
    CHECK(!http_list_next(&list, &element));
    list = http_list_of(HTTP_TEXT("\"open, a"));
    CHECK(http_list_next(&list, &element) && element.len == 8);
    CHECK(!http_list_next(&list, &element));
}

int main(void)
{
    check_text();
    check_numbers();
    check_fields();
    check_list();
    CHECK(http_text_equal(http_status_reason(HTTP_NOT_FOUND), HTTP_TEXT("Not Found")));
    CHECK(http_text_equal(http_status_reason(299), HTTP_TEXT("Unknown")));
    return check_done("http/text");
}
