# The target "docs" renders the public headers; the test of that name fails on any warning.
configure_file(cmake/Doxyfile.in ${PROJECT_BINARY_DIR}/Doxyfile @ONLY)
set(doxygen ${PROJECT_SOURCE_DIR}/scripts/doxygen.sh ${PROJECT_BINARY_DIR}/Doxyfile)
add_custom_target(docs COMMAND ${doxygen} VERBATIM)
if(UMBRA_TESTS)
  add_test(NAME docs COMMAND ${doxygen})
  set_tests_properties(docs PROPERTIES SKIP_RETURN_CODE 77 LABELS once)
endif()
