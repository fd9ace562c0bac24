# What `cmake --install` lays down, so that find_package(Fathom CONFIG) and pkg-config find the library elsewhere.
# tests/install/ uses both from a project outside.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Fathom)
install(TARGETS fathom EXPORT FathomTargets)
install(DIRECTORY include/fathom TYPE INCLUDE FILES_MATCHING PATTERN "*.h")
install(EXPORT FathomTargets NAMESPACE Fathom:: DESTINATION ${package_dir})
if(FATHOM_CLI)
  install(TARGETS fathom_cli)
endif()

configure_package_config_file(cmake/FathomConfig.cmake.in FathomConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(FathomConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/FathomConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/FathomConfigVersion.cmake
        DESTINATION ${package_dir})

# An archive carries no list of what it needs, so its users link that too; a shared library's users need not.
set(fathom_pc_requires Requires)
if(BUILD_SHARED_LIBS)
  set(fathom_pc_requires Requires.private)
endif()
file(RELATIVE_PATH fathom_pc_up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")  # the file finds its prefix from where it lies
configure_file(cmake/fathom.pc.in fathom.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/fathom.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
