# Installation: libraries, headers, CLI with man pages and completions, CMake package (umbra::umbra,
# umbra::lab) and pkg-config files.
include(CMakePackageConfigHelpers)

install(TARGETS umbra umbra_lab EXPORT umbra-targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS umbra_llama LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS umbra_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY include/umbra DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs examples DESTINATION ${CMAKE_INSTALL_DOCDIR} USE_SOURCE_PERMISSIONS)
if(TARGET umbra_pages)
  set(pages ${PROJECT_BINARY_DIR}/pages)
  install(DIRECTORY ${pages}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES ${pages}/bash/umbra
    DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${pages}/zsh/_umbra DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
  install(FILES ${pages}/fish/umbra.fish
    DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/umbra)
install(EXPORT umbra-targets NAMESPACE umbra:: DESTINATION ${package_folder})
configure_package_config_file(cmake/umbra-config.cmake.in
  ${CMAKE_CURRENT_BINARY_DIR}/umbra-config.cmake INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/umbra-config-version.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/umbra-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/umbra-config-version.cmake DESTINATION ${package_folder})

# The pkg-config files find their prefix from where they lie, so that the tree can be moved.
file(RELATIVE_PATH package_up /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
foreach(package umbra umbra-lab)
  configure_file(cmake/${package}.pc.in ${CMAKE_CURRENT_BINARY_DIR}/${package}.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/${package}.pc
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()
